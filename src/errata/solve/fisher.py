"""The diagonal of the Fisher information: how much each weight matters to answers that are to stay.

Knows parameters and batches. What the figure is used for is the caller's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from errata.models import Batch, EditableModel
from errata.models.losses import target_loss


def diagonal_fisher(
    model: EditableModel, parameters: Sequence[nn.Parameter], work: Sequence[Batch]
) -> list[Tensor]:
    """Mean square of the gradient of each edit's loss (nats a token), one tensor of its own shape per parameter.

    The empirical Fisher: gradients are taken at the answers wanted, not at ones drawn from the model (Kirkpatrick et
    al., 2017, arXiv:1612.00796). Each batch holds one edit, since squares of single gradients are averaged.
    """
    for parameter in parameters:
        parameter.requires_grad_(True)
    sums = [torch.zeros_like(parameter, dtype=torch.float32) for parameter in parameters]
    for batch in work:
        assert batch.gold is not None
        loss = target_loss(model.forward(batch, keep=batch.keep), batch.gold).sum()
        for total, gradient in zip(sums, torch.autograd.grad(loss, list(parameters)), strict=True):
            total += gradient.float().square()
    return [total / max(1, len(work)) for total in sums]
