"""A figure: a value with its n and 95 % confidence interval. Every number of a report is one of these.

Answers about one edit are not independent: an interval is taken over edits, each of which counts by its mean. Knows
numbers alone.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

Z = 1.959964  # two-sided 95 %


@dataclass(frozen=True)
class Figure:
    """A value, its 95 % interval, and how many independent units (edits, texts) and answers it rests on."""

    value: float
    low: float
    high: float
    n: int
    answers: int

    def to_json(self) -> dict[str, Any]:
        return {name: round(value, 10) if isinstance(value, float) else value for name, value in asdict(self).items()}

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}] n={self.n}"


def share(graded: Iterable[tuple[Hashable, float]]) -> Figure | None:
    """Mean of grades in [0, 1], given with the unit each belongs to; Wilson's score interval over units.

    The interval is exact for units that are wholly right or wrong and wide for others, and never has width nought.
    """
    means, answers = _by_unit(graded)
    if not means:
        return None
    n, p = len(means), sum(means) / len(means)
    centre = (p + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n)) / (1 + Z * Z / n)
    return Figure(p, max(0.0, centre - half), min(1.0, centre + half), n, answers)


def change(pairs: Iterable[tuple[Hashable, float, float]]) -> Figure | None:
    """Mean fall of paired grades in [0, 1], each given with its unit, as before and now; negative where they rose.

    What fell and what rose are shares of their own; the interval runs from the one's low less the other's high to the
    opposite, and so holds at least 95 %.
    """
    graded = list(pairs)
    fell = share((unit, max(0.0, before - now)) for unit, before, now in graded)
    rose = share((unit, max(0.0, now - before)) for unit, before, now in graded)
    if fell is None or rose is None:
        return None
    return Figure(fell.value - rose.value, fell.low - rose.high, fell.high - rose.low, fell.n, fell.answers)


def mean(measured: Iterable[tuple[Hashable, float]], *, draws: int = 2000) -> Figure | None:
    """Mean of any numbers, given with the unit each belongs to; percentile bootstrap over units, seeded."""
    means, answers = _by_unit(measured)
    if not means:
        return None
    low, high = bootstrap(means, draws=draws)
    return Figure(sum(means) / len(means), low, high, len(means), answers)


def bootstrap(values: Sequence[float], *, draws: int = 2000) -> tuple[float, float]:
    """95 % percentile interval of the mean under resampling with replacement."""
    data, generator = np.asarray(values, dtype=np.float64), np.random.default_rng(0)
    means = [data[generator.integers(0, len(data), len(data))].mean() for _ in range(draws)]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def exact_value(value: float, n: int) -> Figure:
    """A number that is no sample, such as a distance between weights."""
    return Figure(value, value, value, n, n)


def _by_unit(graded: Iterable[tuple[Hashable, float]]) -> tuple[list[float], int]:
    units: dict[Hashable, list[float]] = defaultdict(list)
    for unit, grade in graded:
        units[unit].append(float(grade))
    return [sum(grades) / len(grades) for grades in units.values()], sum(map(len, units.values()))
