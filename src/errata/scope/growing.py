"""Arrays that grow at their end. Knows numbers only."""

from __future__ import annotations

from typing import Any

import numpy as np

SMALLEST = 16  # rows that space is reserved for at first


class Growing:
    """An array to whose end rows are added, each in O(1) on average.

    Rows are never changed or moved within the array, so a reader that looks at the first n rows may go on while others
    are added.
    """

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        self._array = np.empty((SMALLEST, *shape), dtype)
        self._count = 0

    @property
    def rows(self) -> np.ndarray:
        """(n, *shape): all rows, not a copy."""
        return self._array[: self._count]

    def append(self, rows: np.ndarray) -> None:
        """Add rows (m, *shape) at the end."""
        count = self._count + len(rows)
        if count > len(self._array):
            # The system commits pages when they are written, so that what is reserved beyond `count` costs nothing yet.
            wider = np.empty((max(count, 2 * len(self._array)), *self._array.shape[1:]), self._array.dtype)
            wider[: self._count] = self.rows
            self._array = wider
        self._array[self._count : count] = rows
        self._count = count
