"""Muon (Jordan et al., 2024) for matrices, AdamW for the rest, both in float32: facts are learned in fewer steps.

torch.optim.Muon orthogonalises in bfloat16, which many processors emulate slowly; hence these lines.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def orthogonalise(matrix: Tensor, steps: int = 5) -> Tensor:
    """The nearest semi-orthogonal matrix, roughly, by a quintic Newton-Schulz iteration."""
    a, b, c = 3.4445, -4.7750, 2.0315
    wide = matrix if matrix.size(0) <= matrix.size(1) else matrix.T
    x = wide / (wide.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if matrix.size(0) <= matrix.size(1) else x.T


class Muon(torch.optim.Optimizer):
    """Momentum, then orthogonalisation. Matrices that hold several maps side by side (GPT-2's query, key, value) are
    orthogonalised one map at a time."""

    def __init__(
        self, parameters: list[nn.Parameter], lr: float, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                buffer = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
                buffer.lerp_(parameter.grad, 1 - group["momentum"])
                update = parameter.grad.lerp(buffer, group["momentum"])
                maps = 3 if update.size(1) == 3 * update.size(0) else 1
                steps = [orthogonalise(part) * max(part.shape) ** 0.5 for part in update.chunk(maps, dim=1)]
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(torch.cat(steps, dim=1), alpha=-0.2 * group["lr"])
