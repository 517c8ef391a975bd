"""What a forward reads, row by row without padding, and the states of it that are to be changed.

Knows ids, columns and masks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from errata.patches.asked import AskedPatch


CONTINUED = 0.0  # score of an answer that began in an earlier forward, where it was told


@dataclass(frozen=True)
class Place:
    """A state to be changed.

    Attributes:
        row: of the batch.
        column: in this forward.
        position: in all that was read, padding counted.
        index: among the row's ids.
        entry, step: of the patch, what answers there, and which of the answer's tokens is predicted.
        score: by how much the question is in scope.
        patch: that it belongs to.
    """

    row: int
    column: int
    position: int
    index: int
    entry: Any
    step: int
    score: float
    patch: AskedPatch[Any]


@dataclass(frozen=True)
class Row:
    """One row of a forward.

    Attributes:
        number: in the batch.
        ids: all that was read, without padding.
        positions: of these ids in all that was read, padding counted.
        start: index of the first id that is read now.
        before: positions that were read before.
    """

    number: int
    ids: list[int]
    positions: list[int]
    start: int
    before: int

    @classmethod
    def of(cls, number: int, seen: Tensor, real: Tensor, before: int) -> Row:
        """Make a row of what was read (S,), of which `real` (S,) is no padding."""
        ids, positions = seen[real].tolist(), real.nonzero()[:, 0].tolist()
        return cls(number, ids, positions, len(ids) - int(real[before:].sum()), before)

    def place(self, index: int, entry: Any, step: int, score: float, patch: AskedPatch[Any]) -> Place:
        """Return the place of an id that is read now."""
        position = self.positions[index]
        return Place(self.number, position - self.before, position, index, entry, step, score, patch)
