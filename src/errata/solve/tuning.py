"""Tuning whole matrices of a model and taking the difference away; the model gets its own bits back.

Knows blocks, roles of matrices and the descent. What becomes of the difference is the method's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from errata.edits import Edit
from errata.models import EditableModel
from errata.models.hooks import as_matrix
from errata.solve.descent import Descent, batches, descend


@dataclass(frozen=True)
class Tuned:
    """Matrices before and after, (d_out, d_in) by parameter path, and how the descent went."""

    before: dict[str, Tensor]
    after: dict[str, Tensor]
    descent: Descent


def tune_matrices(
    model: EditableModel,
    edits: Sequence[Edit],
    paths: Sequence[str],
    *,
    lr: float,
    steps: int,
    enough: float,
    batch_size: int,
    epsilon: float | None = None,
) -> Tuned:
    """Tune the linear modules at `paths` until they give every edit's target.

    `lr`, and `epsilon`, which bounds each weight's change, are in units of a matrix's root mean square.
    """
    modules = {f"{path}.weight": model.model.get_submodule(path) for path in paths}
    parameters = [module.get_parameter("weight") for module in modules.values()]
    originals = [parameter.detach().clone() for parameter in parameters]
    units = [float(original.float().square().mean().sqrt()) for original in originals]
    before = {name: as_matrix(module).clone() for name, module in modules.items()}

    def project() -> None:
        if epsilon is not None:
            for parameter, original, unit in zip(parameters, originals, units, strict=True):
                most = epsilon * unit
                parameter.copy_(original + (parameter - original).clamp(-most, most))

    with model.preserved():
        try:
            work = batches(model, edits, batch_size)
            rates = {parameter: lr * unit for parameter, unit in zip(parameters, units, strict=True)}
            descent = descend(model, rates, work, steps=steps, enough=enough, project=project)
            after = {name: as_matrix(module).clone() for name, module in modules.items()}
        finally:
            with torch.no_grad():
                for parameter, original in zip(parameters, originals, strict=True):
                    parameter.copy_(original)
    return Tuned(before, after, descent)
