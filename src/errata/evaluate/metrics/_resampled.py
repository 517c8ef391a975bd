"""Intervals of figures that are no plain mean: whole units are drawn again, and the figure is worked out anew.

Knows arrays of numbers. It does not know what they measure.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence

import numpy as np

from errata.evaluate.figures import Figure

DRAWS = 2000
Column = np.ndarray


def resampled(statistic: Callable[[Column], float], rows: Column, answers: int) -> Figure | None:
    """`statistic` of all rows (n, ...), with the 95 % percentile interval over 2000 draws of n rows, seeded.

    Draws for which the statistic is undefined (NaN) say nothing and are left out.
    """
    value = statistic(rows) if len(rows) else np.nan
    if not np.isfinite(value):
        return None
    generator = np.random.default_rng(0)
    drawn = np.array([statistic(rows[generator.integers(0, len(rows), len(rows))]) for _ in range(DRAWS)])
    low, high = np.percentile(drawn[np.isfinite(drawn)], [2.5, 97.5])
    return Figure(float(value), float(low), float(high), len(rows), answers)


def harmonic(parts: Sequence[Iterable[tuple[Hashable, float]]]) -> Figure | None:
    """Harmonic mean of the means of several lists of grades; 0 if one of them is 0, None if one is empty.

    The interval is over units: a unit keeps its grades in all lists together.
    """
    lists = [list(part) for part in parts]
    places = {unit: row for row, unit in enumerate(dict.fromkeys(unit for part in lists for unit, _ in part))}
    sums, counts = np.zeros((len(places), len(lists))), np.zeros((len(places), len(lists)))
    for column, part in enumerate(lists):
        for unit, grade in part:
            sums[places[unit], column] += grade
            counts[places[unit], column] += 1
    means = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
    return resampled(_harmonic_mean, means, sum(map(len, lists)))


def _harmonic_mean(rows: Column) -> float:
    known = ~np.isnan(rows)
    counts = known.sum(0)
    if not counts.all():
        return np.nan
    means = np.where(known, rows, 0).sum(0) / counts
    return 0.0 if not means.all() else float(len(means) / (1 / means).sum())
