"""Vectors added to senses, in training: what edits want of them, and what general text makes of them.

All of it is measured on readings, so a step costs the head and nothing of the network below. Knows aims, readings and
the vectors; which senses they belong to is settled before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from errata.edits import Edit
from errata.models import Batch, EditableModel
from errata.patches.senses import Additions
from errata.solve.goals import Aims
from errata.solve.readings import Drafted, Reading, read

ROWS = 8  # stretches of general text in one forward


@dataclass(frozen=True, eq=False)
class ReadAims:
    """Some edits' aims, and what the model makes of their texts."""

    aims: Aims
    targets: Reading
    rivals: Reading | None

    @classmethod
    def of(cls, model: EditableModel, part: Aims) -> ReadAims:
        return cls(part, read(model, part.batch), None if part.rivals is None else read(model, part.rivals))


class Wanted:
    """Some edits' aims as they depend on the additions: `descent.Work` without a forward of the network."""

    def __init__(self, seen: ReadAims, additions: Additions) -> None:
        self.aims, self.additions = seen.aims, additions
        count = len(additions.vectors)
        self.targets = Drafted.of(seen.targets, additions.place, count)
        self.rivals = None if seen.rivals is None else Drafted.of(seen.rivals, additions.place, count)

    @property
    def edits(self) -> tuple[Edit, ...]:
        return self.aims.edits

    def judge(self, model: EditableModel) -> tuple[Tensor, Tensor]:
        """As `Aims.judge`."""
        nll, leads = self.targets.losses(model, self.additions.vectors)
        beside = None if self.rivals is None else self.rivals.losses(model, self.additions.vectors)[0]
        examples = torch.tensor([edit.goal is not None for edit in self.edits], device=leads.device)
        return self.aims.combined(nll, beside), leads.masked_fill(examples, torch.inf)

    def enough(self, answered: float) -> Tensor:
        return self.aims.enough(answered)

    def reads(self) -> list[list[int]]:
        """For each edit, which of the vectors reach what it predicts."""
        owners = self.aims.owners.tolist()
        found = [set(self.targets.reached(row)) for row in range(len(self.edits))]
        for row, owner in enumerate(owners):
            assert self.rivals is not None
            found[owner] |= set(self.rivals.reached(row))
        return [sorted(rows) for rows in found]


class GeneralText:
    """Stretches of general text as they depend on the additions; only what these reach is computed again.

    Attributes:
        start: mean nats a token with the additions that this was made with.

    Raises: as `read`.
    """

    def __init__(self, model: EditableModel, text: Batch, additions: Additions) -> None:
        self.model, self.additions = model, additions
        self.moved: list[Drafted] = []  # of each stretch
        self.still, self.count = 0.0, 0  # nats where nothing can move, and predictions in all
        for start in range(0, len(text), ROWS):
            part = text.rows(torch.arange(start, min(start + ROWS, len(text))))
            drafted = Drafted.of(read(model, part), additions.place, len(additions.vectors))
            self.still += self._nats(drafted.only(~drafted.moved))
            self.count += len(drafted.gold)
            self.moved += [drafted.only(drafted.moved & (drafted.rows == row)) for row in range(len(part))]
        self.start = self.loss()

    def loss(self, limit: float = math.inf) -> float:
        """Mean nats a token with the additions as they are, whatever the limit: it costs little."""
        return (self.still + sum(map(self._nats, self.moved))) / self.count

    @torch.no_grad()
    def _nats(self, drafted: Drafted) -> float:
        logits = drafted.logits(self.model, self.additions.vectors).float()
        return float(functional.cross_entropy(logits, drafted.gold, reduction="sum").double())


class SenseTether:
    """As `general.Tether`, for additions: weight * KL(p_0 || p) a token, on another stretch at every call."""

    def __init__(self, text: GeneralText, weight: float, seed: int) -> None:
        self.text, self.weight = text, weight
        self.length = text.count / len(text.moved)
        with torch.no_grad():
            self.before = [self._log_chances(drafted) for drafted in text.moved]
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self) -> Tensor:
        row = int(torch.randint(len(self.before), (), generator=self.generator))
        now = self._log_chances(self.text.moved[row])
        divergence = functional.kl_div(now, self.before[row], reduction="sum", log_target=True)
        return self.weight * divergence / self.length

    def _log_chances(self, drafted: Drafted) -> Tensor:
        return drafted.logits(self.text.model, self.text.additions.vectors).float().log_softmax(-1)


def unit(senses: Tensor) -> float:
    """Root mean square of sense vectors: learning rates in this unit suit any model."""
    return float(senses.float().square().mean().sqrt())


def reads_of(parts: Sequence[Wanted]) -> list[list[int]]:
    """`Wanted.reads` of all parts."""
    return [rows for part in parts for rows in part.reads()]
