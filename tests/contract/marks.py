"""What a model looks like from outside and inside, to be compared before and after: nothing may leave a mark on it."""

from __future__ import annotations

from typing import Any

import torch

from errata.models import EditableModel

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_state_dict_hooks")


def marks(model: EditableModel) -> dict[str, Any]:
    """Bits, gradients and switches of every tensor, the modules themselves, their modes, attributes and hooks."""
    network, found = model.model, {}
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        gradient = None if tensor.grad is None else tensor.grad.numpy().tobytes()
        raw = tensor.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        found[name] = (id(tensor), tensor.dtype, tensor.shape, raw, tensor.requires_grad, gradient)
    for path, module in network.named_modules():
        hooks = {kind: len(getattr(module, kind)) for kind in _HOOKS}
        found[f"module {path}"] = (id(module), module.training, hooks, sorted(vars(module)))
    return found


@torch.no_grad()
def logits(model: EditableModel, prompts: list[str]) -> torch.Tensor:
    return model.forward(model.encode(prompts)).clone()
