"""The main directions of a gradient that is a sum of many tokens' terms, from the terms alone (SaLEM).

Knows two factors of a matrix; nothing of models. The matrix itself, and what is small in it, is never formed.
"""

from __future__ import annotations

import torch
from torch import Tensor


def main_directions(inputs: Tensor, gradients: Tensor, *, energy: float) -> tuple[Tensor, Tensor]:
    """The truncated singular value decomposition of gradients^T inputs, as r terms (r, d_in) and (r, d_out).

    Term j is (sqrt(s_j) v_j, sqrt(s_j) u_j), strongest first, so few that they hold the share `energy` of the sum of
    squared singular values. A singular pair has no sign of its own, and a network that is not odd would see the
    difference: v points the way the inputs do on average, or where that says nothing, to its largest entry.

    `inputs` is (n, d_in), `gradients` (n, d_out).
    """
    x, g = inputs.double(), gradients.double()
    basis_x, inner_x = torch.linalg.qr(x.T)
    basis_g, inner_g = torch.linalg.qr(g.T)
    left, strengths, right = torch.linalg.svd(inner_g @ inner_x.T, full_matrices=False)
    rank = _rank(strengths, energy)
    roots = strengths[:rank].sqrt()[:, None]
    u, v = (basis_g @ left[:, :rank]).T, right[:rank] @ basis_x.T
    signs = _signs(v, x.mean(0))
    return (roots * signs * v).to(inputs.dtype), (roots * signs * u).to(gradients.dtype)


def _rank(strengths: Tensor, energy: float) -> int:
    """How many of the strongest hold the share `energy`; at least one."""
    held = strengths.square().cumsum(0)
    if not len(held) or not held[-1] > 0:
        return min(1, len(held))
    return min(len(held), int((held < energy * held[-1]).sum()) + 1)


def _signs(v: Tensor, mean: Tensor) -> Tensor:
    """(r, 1), of 1 and -1."""
    along = v @ mean
    largest = v.gather(1, v.abs().argmax(1, keepdim=True))[:, 0]
    clear = along.abs() > 1e-9 * mean.norm()
    return torch.where(torch.where(clear, along, largest) < 0, -1.0, 1.0)[:, None].to(v)
