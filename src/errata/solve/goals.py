"""What edits want of a model's text, as losses: answers, and canonical examples (Hewitt et al., 2024, 2402.06155).

An answer is to be said, its end included. An example is no answer: how its text goes on is to become likelier, less
likely, as likely as a rival or likelier than one. Knows batches and losses; what lowers them is the caller's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

import torch
from torch import Tensor

from errata.edits import Edit, Goal
from errata.models import Batch, EditableModel
from errata.models.losses import margin, target_loss

# Losses at which the paper counts an example as done, nats: the probability, or the ratio of two.
DONE: dict[Goal, float] = {"raise": log(5), "lower": -log(1000), "balance": log(1.5), "contrast": -log(16)}
CLOSER = 0.1  # how level a descent brings two; what it raises goes as far as an answer does


@dataclass(frozen=True)
class Aims:
    """Some edits as tensors.

    Attributes:
        edits: B of them.
        batch: their prompts and targets; with the token that ends an answer where the edit is one.
        rivals: R prompts with the rivals of those that have one; None if none has.
        owners: (R,), the rows that the rivals belong to.
    """

    edits: tuple[Edit, ...]
    batch: Batch
    rivals: Batch | None
    owners: Tensor

    @classmethod
    def of(cls, model: EditableModel, edits: Sequence[Edit]) -> Aims:
        """Raises: BadEdit, as `EditableModel.encode`."""
        owners = [row for row, edit in enumerate(edits) if edit.rival is not None]
        rivals = [str(edits[row].rival) for row in owners]
        return cls(
            tuple(edits),
            model.encode([e.prompt for e in edits], [e.target for e in edits], end=[e.goal is None for e in edits]),
            model.encode([edits[row].prompt for row in owners], rivals, end=False) if owners else None,
            torch.tensor(owners, dtype=torch.long, device=model.device),
        )

    def losses(self, model: EditableModel) -> Tensor:
        """(B,) what is to fall, by each edit's goal; differentiable. See `combined`."""
        return self.combined(_nll(model, self.batch), None if self.rivals is None else _nll(model, self.rivals))

    def combined(self, targets: Tensor, rivals: Tensor | None) -> Tensor:
        """(B,) from the mean nats a token of the targets, (B,), and of the rivals, (R,).

        An answer and "raise": the target's own; "lower": that, negative; "balance": how far apart target and rival are;
        "contrast": the target's less the rival's.
        """
        beside = torch.zeros_like(targets)
        if rivals is not None:
            beside = beside.index_add(0, self.owners, rivals)
        parts = {"lower": -targets, "balance": (targets - beside).abs(), "contrast": targets - beside}
        rows = [parts.get(edit.goal or "", targets)[row] for row, edit in enumerate(self.edits)]
        return torch.stack(rows)

    def judge(self, model: EditableModel) -> tuple[Tensor, Tensor]:
        """Losses (B,), and how far each answer's least token leads all others, in logits; of an example infinity."""
        logits = model.forward(self.batch, keep=self.batch.keep)
        assert self.batch.gold is not None
        nll = target_loss(logits, self.batch.gold)
        leads = margin(logits.detach(), self.batch.gold)
        examples = torch.tensor([edit.goal is not None for edit in self.edits], device=leads.device)
        losses = self.combined(nll, None if self.rivals is None else _nll(model, self.rivals))
        return losses, leads.masked_fill(examples, torch.inf)

    def enough(self, answered: float) -> Tensor:
        """(B,) losses below which an edit needs no more; `answered`, nats a token, is that of what is to be said."""
        bounds = {**DONE, "raise": answered, "balance": CLOSER}
        return torch.tensor([bounds.get(edit.goal or "", answered) for edit in self.edits], device=self.owners.device)


def aims(model: EditableModel, edits: Sequence[Edit], rows: int) -> list[Aims]:
    """The edits, at most `rows` in one forward. Raises: BadEdit."""
    return [Aims.of(model, edits[start : start + rows]) for start in range(0, len(edits), rows)]


def _nll(model: EditableModel, batch: Batch) -> Tensor:
    assert batch.gold is not None
    return target_loss(model.forward(batch, keep=batch.keep), batch.gold)
