"""Whether what an MLP writes arrives: some blocks (Gemma 2's, OLMo 2's) normalise it before the residual stream.

The locate-then-edit methods count on it, since they turn a missing part of a block's output into an update of its MLP.
Knows one block of a model; it changes nothing.
"""

from __future__ import annotations

import torch

from errata.errors import BadModel
from errata.models import EditableModel
from errata.models.hooks import replace_output

_TEXT = "The capital of France is"
_LOST = 0.3  # share of a shift that may go missing: half precision beside huge coordinates rounds much of it away


@torch.no_grad()
def require_arrival(model: EditableModel, layer: int) -> None:
    """Raise BadModel if block `layer` passes its MLP's output on changed. Runs one short text twice."""
    batch = model.encode([_TEXT])
    before = model.prefix(batch, layer).hidden.float()
    shift = before.std() * torch.ones(model.width, device=model.device)
    module = model.model.get_submodule(model.arch.matrix(layer, "mlp_down"))
    handle = replace_output(module, lambda hidden: hidden + shift.to(hidden.dtype))
    try:
        arrived = model.prefix(batch, layer).hidden.float() - before
    finally:
        handle.remove()
    if float((arrived - shift).norm()) > _LOST * float(shift.expand_as(arrived).norm()):
        raise BadModel(
            f"block {layer} of {model.name} normalises what its MLP writes, so that locate-then-edit's updates "
            "would not arrive as they were solved; use grace, ft or lora"
        )
