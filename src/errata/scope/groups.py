"""Rows that have something in common, found by its hash. Knows numbers only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from errata.scope.growing import Growing


class Groups:
    """Every row belongs to one group, which a hash (64 bits) stands for."""

    def __init__(self) -> None:
        self._hashes = Growing((), np.int64)
        self._members: dict[int, int | list[int]] = {}  # most groups have one row, which needs no list

    def append(self, hashes: Sequence[int] | np.ndarray) -> None:
        """Add rows at the end."""
        first, added = len(self._hashes.rows), np.asarray(hashes, np.int64)
        self._hashes.append(added)
        for row, key in enumerate(added.tolist(), first):
            known = self._members.get(key)
            if known is None:
                self._members[key] = row
            elif isinstance(known, list):
                known.append(row)
            else:
                self._members[key] = [known, row]

    def copied(self, rows: np.ndarray) -> Groups:
        """Return a copy of some rows, in the order of `rows`."""
        other = Groups()
        other.append(self._hashes.rows[rows])
        return other

    def rows(self, key: int) -> Iterator[int]:
        """Yield the rows of a group, the latest first."""
        known = self._members.get(key, [])
        # No copy of the list: who adds meanwhile adds at the end, behind where this reads.
        return iter((known,)) if isinstance(known, int) else reversed(known)

    def beside(self, row: int) -> Iterator[int]:
        """Yield the rows of the group of a row, the latest first."""
        return self.rows(int(self._hashes.rows[row]))
