"""Predictions of a Backpack for any sense vectors, at the price of one forward.

How much of a sense reaches a prediction, α, does not depend on what the sense is, and logits are linear in senses:
E (o + Σ α d) are the logits for senses c + d. So the network runs once, and training d runs no network but the head.
Knows batches, sums and weights; which senses move, and to what end, is the caller's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from errata.models import Batch, EditableModel
from errata.models.backpack.words import backpack_of
from errata.models.losses import IGNORED, margin, target_loss


@dataclass(frozen=True, eq=False)
class Reading:
    """N predictions in a batch of B rows of T tokens, in the order of the rows.

    Attributes:
        batch: what was read.
        rows, columns: (N,) each, where in the batch.
        gold: (N,), the ids to be predicted.
        sums: (N, d), o with whatever is attached to the model in force.
        weights: (N, k, T), α.
    """

    batch: Batch
    rows: Tensor
    columns: Tensor
    gold: Tensor
    sums: Tensor
    weights: Tensor

    def mass(self, row: int, start: int = 0) -> tuple[Tensor, Tensor]:
        """Token ids (u,), ascending, and how much of each of their senses (u, k) reaches the predictions of a row.

        Predictions in columns before `start` don't count. A token that stands in several places counts with all.
        """
        chosen = (self.rows == row) & (self.columns >= start)
        width = int(self.batch.attention_mask[row].sum())
        first = int(self.batch.pads[row])
        ids, place = self.batch.input_ids[row, first : first + width].unique(return_inverse=True)
        mass = self.weights[chosen].float().sum(0)[:, first : first + width].t()
        return ids, functional.one_hot(place, len(ids)).to(mass).t() @ mass

    def shares(self, place: Tensor, count: int) -> Tensor:
        """(N, count): how much of each chosen sense reaches each prediction; `place` as in `Additions`."""
        shares = self.sums.new_zeros(len(self.rows), count, dtype=torch.float32)
        real = self.batch.attention_mask.bool()
        for row in self.rows.unique().tolist():
            found = place[self.batch.input_ids[row]].masked_fill(~real[row][:, None], -1)
            column, sense = (found >= 0).nonzero(as_tuple=True)
            if len(column):
                mine = self.rows == row
                parts = self.weights[mine][:, sense, column].float()
                shares[mine] = parts @ functional.one_hot(found[column, sense].long(), count).to(parts)
        return shares


@dataclass(frozen=True, eq=False)
class Drafted:
    """Predictions as they depend on n vectors that are added to chosen senses.

    Attributes:
        sums: (N, d) float32, o without the vectors.
        shares: (N, n), how much of each vector reaches each prediction.
        gold, rows: (N,) each: what is to be predicted, and the row that a prediction belongs to.
        count: how many rows there are.
    """

    sums: Tensor
    shares: Tensor
    gold: Tensor
    rows: Tensor
    count: int

    @classmethod
    def of(cls, reading: Reading, place: Tensor, count: int) -> Drafted:
        shares = reading.shares(place, count)
        return cls(reading.sums.float(), shares, reading.gold, reading.rows, len(reading.batch))

    def only(self, rows: Tensor) -> Drafted:
        """Some of the predictions (long or bool)."""
        return Drafted(self.sums[rows], self.shares[rows], self.gold[rows], self.rows[rows], self.count)

    @property
    def moved(self) -> Tensor:
        """(N,) bool: does any vector reach the prediction?"""
        return (self.shares != 0).any(1)

    def reached(self, row: int) -> list[int]:
        """Which of the vectors reach a prediction of a row."""
        return (self.shares[self.rows == row] != 0).any(0).nonzero()[:, 0].tolist()

    def logits(self, model: EditableModel, vectors: Tensor) -> Tensor:
        """(N, V), differentiable in the vectors (n, d)."""
        head = backpack_of(model).lm_head
        return head((self.sums + self.shares @ vectors).to(head.weight.dtype))

    def losses(self, model: EditableModel, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Of each row the mean loss of its predictions, nats, and the least lead of what is to be predicted: (B,) both.

        As `target_loss` and `margin` of what a forward gives.
        """
        logits, gold = self.logits(model, vectors)[:, None], self.gold[:, None]  # each prediction as a row of its own
        nats = target_loss(logits, gold)
        sums = nats.new_zeros(self.count).index_add(0, self.rows, nats)
        start = sums.detach().new_full((self.count,), torch.inf)
        leads = start.scatter_reduce(0, self.rows, margin(logits.detach(), gold), "amin")
        return sums / torch.bincount(self.rows, minlength=self.count).clamp(min=1), leads


@torch.no_grad()
def read(model: EditableModel, batch: Batch) -> Reading:
    """What a Backpack makes of a batch at its scored positions; all real ones but a row's last where none is scored.

    Raises:
        BadModel: the model is no Backpack.
    """
    network = backpack_of(model)
    gold = following(batch) if batch.gold is None else batch.gold
    with model.evaluating():
        out = network.transformer(**model.inputs(batch), use_cache=False)
    rows, columns = (gold != IGNORED).nonzero(as_tuple=True)
    weights = out.contextualization[rows, :, columns]
    return Reading(batch, rows, columns, gold[rows, columns], out.last_hidden_state[rows, columns], weights)


def following(batch: Batch) -> Tensor:
    """(B, T): at every token the one after it, -100 at padding and where none follows."""
    after = functional.pad(batch.input_ids[:, 1:], (0, 1), value=IGNORED)
    real = functional.pad(batch.attention_mask[:, 1:], (0, 1), value=0)
    return after.masked_fill(real == 0, IGNORED).masked_fill(batch.attention_mask == 0, IGNORED)
