"""General text whose loss is what a test says."""

from __future__ import annotations

import math
from collections.abc import Callable


class Known:
    """Stands in for `errata.solve.general.Prose`."""

    def __init__(self, measured: Callable[[], float]) -> None:
        self.measured, self.start = measured, measured()

    def loss(self, limit: float = math.inf) -> float:
        return self.measured()
