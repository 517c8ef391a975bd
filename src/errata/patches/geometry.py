"""The geometry of a codebook: which balls of states answer for which edits, derived from the edits' entries alone.

Knows points, radii and labels. It does not know models, hooks or files, nor the rules by which entries become keys:
a geometry is never edited, `fold` derives it from the entries, so the same entries always give the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from errata.errors import BadPatch
from errata.patches.points import Points

REMOVED = float("nan")  # radius of a row that is no key any more: every comparison with it is false
NOBODY = -1  # owner of an entry that no key answers for
Variant = Literal["coverage", "average", "separate"]


def as_float32(number: float) -> float:
    """The number that storing this one in a float32 tensor leaves: comparisons must be made with that."""
    return float(torch.tensor(number, dtype=torch.float32))


@dataclass(frozen=True, eq=False)
class Entry:
    """One state of one edit and what replaces it. Tensors are copies, float32 on the CPU, to be left as they are.

    Attributes:
        edit: id of the edit.
        query: (q,), the state at which the edit shall answer, as the codebook's metric sees it.
        value: (d,), the state put in its place.
        label: the target's ids, end included. Entries agree if these are equal as sequences.
        radius: of the ball around `query` before other entries have a say; L2 distance, more than 0.
        prompt: text whose state the query is, to explain answers with.
        position: which token of it.
        norm: of the query, L2.
    """

    edit: str
    query: Tensor
    value: Tensor
    label: tuple[int, ...]
    radius: float
    prompt: str = ""
    position: int = 0
    norm: float = field(init=False)

    def __post_init__(self) -> None:
        for name in ("query", "value"):
            given: Tensor = getattr(self, name)
            object.__setattr__(self, name, given.detach().to("cpu", torch.float32, copy=True).contiguous())
        object.__setattr__(self, "label", tuple(int(token) for token in self.label))
        if self.query.dim() != 1 or self.value.dim() != 1:
            shapes = f"{tuple(self.query.shape)} and {tuple(self.value.shape)}"
            raise BadPatch(f"query and value of edit '{self.edit}' have shapes {shapes}; both must be vectors")
        if not (self.query.isfinite().all() and self.value.isfinite().all()):
            raise BadPatch(f"query or value of edit '{self.edit}' is NaN or infinite; lower the learning rate")
        object.__setattr__(self, "radius", as_float32(self.radius))
        object.__setattr__(self, "norm", float(self.query.norm()))
        if not 0 < self.radius < float("inf"):
            raise BadPatch(f"radius {self.radius} of edit '{self.edit}' must be more than 0 and finite")


@dataclass(frozen=True)
class Rules:
    """How entries become keys.

    Attributes:
        variant: what becomes of a key that takes in another query of its label: "coverage" widens its ball,
            "average" moves it half-way there too. "separate" takes in none but those at its very point: every query
            has a key of its own, balls keep their radii and overlap, and a state in several belongs to the nearest.
        tolerance: two states closer than this share of their norm are one point. It must be above the noise between
            two computations of the same state, which half precision makes a hundred times larger.
    """

    variant: Variant = "coverage"
    tolerance: float = 1e-4

    def __post_init__(self) -> None:
        if self.variant not in get_args(Variant):
            raise BadPatch(f"unknown codebook variant '{self.variant}'; use 'coverage', 'average' or 'separate'")
        if not 0 <= self.tolerance < 1:
            raise BadPatch(f"tolerance {self.tolerance} must be at least 0 and below 1")

    @classmethod
    def at(cls, dtype: torch.dtype, variant: Variant) -> Rules:
        """The rules for states of a model with weights of this type."""
        return cls(variant, 1e-4 if dtype in (torch.float32, torch.float64) else 1e-2)

    def margin(self, entry: Entry) -> float:
        """Distance within which a state is the same point as the entry's query."""
        return self.tolerance * entry.norm + 1e-6


@dataclass(frozen=True, eq=False)
class Geometry:
    """Keys M, derived from entries E. A state in the balls of several keys belongs to the nearest, the first of equals.

    Attributes:
        entries: what it was derived from, in order.
        points: centres of the balls, one row each, in order of creation; rows of removed keys stay for a while.
        radius: (rows,), `REMOVED` at removed keys.
        label: (rows,), numbers of the labels in order of first appearance.
        source: (rows,), the entry whose value is the key's.
        owner: (E,), the row that answers for an entry; `NOBODY` if newer entries at its very point took its place.
        numbers: label to number.
    """

    rules: Rules
    entries: tuple[Entry, ...]
    points: Points
    radius: Tensor
    label: Tensor
    source: Tensor
    owner: Tensor
    numbers: dict[tuple[int, ...], int]

    @classmethod
    def empty(cls, width: int, rules: Rules) -> Geometry:
        """No entries, no keys."""
        none = torch.empty(0, dtype=torch.long)
        return cls(rules, (), Points(width), torch.empty(0), none, none, none, {})

    @cached_property
    def rows(self) -> Tensor:
        """(M,): the row of every key."""
        return (self.radius >= 0).nonzero()[:, 0]

    @cached_property
    def number(self) -> Tensor:
        """(rows,): the number of every row's key, 0 to M - 1; of no meaning at removed rows."""
        return (self.radius >= 0).cumsum(0) - 1

    @property
    def keys(self) -> Tensor:
        """(M, d): centres of the balls."""
        return self.points.full[self.rows]

    @property
    def values(self) -> Tensor:
        """(M, d): what a state in the ball is replaced by."""
        sources = self.source[self.rows].tolist()
        if not sources:
            return torch.empty(0, self.points.width)
        return torch.stack([self.entries[source].value for source in sources])

    @property
    def radii(self) -> Tensor:
        """(M,): L2 radii."""
        return self.radius[self.rows]

    @property
    def labels(self) -> Tensor:
        """(M,): label numbers."""
        return self.label[self.rows]

    @property
    def members(self) -> tuple[tuple[int, ...], ...]:
        """For every key the entries it answers for, oldest first."""
        found: dict[int, list[int]] = {row: [] for row in self.rows.tolist()}
        for entry, row in enumerate(self.owner.tolist()):
            if row != NOBODY:
                found[row].append(entry)
        return tuple(tuple(members) for members in found.values())

    @property
    def superseded(self) -> tuple[int, ...]:
        """Entries whose very point newer entries with another label took; undoing those brings them back."""
        return tuple((self.owner == NOBODY).nonzero()[:, 0].tolist())

    def tidied(self) -> Geometry:
        """The same keys in the same order without the removed rows between them."""
        points = Points(self.points.width)
        for row in self.rows.tolist():
            points.append(self.points.full[row])
        owner = torch.where(self.owner == NOBODY, NOBODY, self.number[self.owner.clamp_min(0)])
        columns = {name: getattr(self, name)[self.rows] for name in ("radius", "label", "source")}
        return replace(self, points=points, owner=owner, **columns)

    def summary(self) -> dict[str, Any]:
        """Counts, as JSON."""
        edits = {entry.edit for entry in self.entries}
        answered = {self.entries[index].edit for index in (self.owner != NOBODY).nonzero()[:, 0].tolist()}
        return {"entries": len(self.entries), "keys": len(self.rows), "superseded": sorted(edits - answered)}
