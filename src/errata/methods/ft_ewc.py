"""FT-EWC: fine-tuning that is held back where earlier edits are sensitive (elastic weight consolidation).

A baseline of GRACE (arXiv:2211.11031, after Kirkpatrick et al., 2017). The penalty is weight/2 times the sum over the
matrix of F (W - W_0)^2: W_0 is the matrix as this call found it, F the diagonal Fisher of the last edits of this method
that are still in force. Their prompts and targets are kept in the patches. The released code does not run; its penalty
is the same with weight 0.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from errata.edits import Edit
from errata.methods._base import option, register_method
from errata.methods._tuned import MatrixConfig, TunedMatrix
from errata.models import EditableModel
from errata.solve.descent import Descent, batches
from errata.solve.fisher import diagonal_fisher
from errata.solve.tuning import Borrowed


@register_method("ft-ewc", paper="arXiv:1612.00796", patch="weights")
class ElasticFineTuning(TunedMatrix):
    """Fine-tuning one MLP matrix, with weights that earlier edits depend on held in place."""

    remembers = True

    @dataclass(frozen=True)
    class Config(MatrixConfig):
        weight: float = option(0.2, "weight of the penalty, in nats; a change of scale of the model leaves it as it is")
        last: int = option(10, "earlier edits whose Fisher information counts, the newest")

    def train(
        self, model: EditableModel, matrices: Borrowed, edits: Sequence[Edit], repeated: Sequence[Edit]
    ) -> Descent:
        past = self.past(model, edits)[-self.config.last :] if self.config.last > 0 else []
        if not past:
            return self.descend(model, matrices, edits)
        fisher = diagonal_fisher(model, matrices.parameters, batches(model, past, 1))
        return self.descend(model, matrices, edits, penalties=[lambda: self._penalty(matrices, fisher)])

    def _penalty(self, matrices: Borrowed, fisher: Sequence[Tensor]) -> Tensor:
        moved = zip(matrices.parameters, matrices.originals, fisher, strict=True)
        parts = [(f * (weight - start).float().square()).sum() for weight, start, f in moved]
        return self.config.weight / 2 * torch.stack(parts).sum()
