"""Means over runs and over whom the questions are about, with intervals over both.

Answers about one subject are not independent, nor are those of one run: runs are drawn again and subjects are drawn
again, crosswise (the pigeonhole bootstrap, Owen, 2007, arXiv:0712.1111). Knows grades; knows no model.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from errata.evaluate.figures import Figure

DRAWS = 2000
Grade = tuple[Hashable, float]  # whom it is about, and a number


@dataclass(frozen=True)
class Spread:
    """A mean, what it comes to in 2000 draws, and how many subjects and answers it rests on."""

    value: float
    drawn: np.ndarray
    n: int
    answers: int

    def figure(self) -> Figure:
        """With the 95 % percentile interval; draws in which nothing is left say nothing."""
        low, high = np.nanpercentile(self.drawn, [2.5, 97.5])
        return Figure(self.value, float(low), float(high), self.n, self.answers)


def spread(runs: Sequence[Sequence[Grade]], seed: int = 0) -> Spread | None:
    """The mean of all grades, given run by run; None without any. What is averaged later needs seeds that differ."""
    places = {subject: place for place, subject in enumerate(dict.fromkeys(s for run in runs for s, _ in run))}
    if not places:
        return None
    sums, counts = np.zeros((2, len(runs), len(places)))
    for row, run in enumerate(runs):
        for subject, grade in run:
            sums[row, places[subject]] += grade
            counts[row, places[subject]] += 1
    generator = np.random.default_rng(seed)
    times, about = _multiples(generator, len(runs)), _multiples(generator, len(places))
    totals, asked = (((times @ table) * about).sum(1) for table in (sums, counts))
    drawn = np.divide(totals, asked, out=np.full(DRAWS, np.nan), where=asked > 0)
    return Spread(float(sums.sum() / counts.sum()), drawn, len(places), int(counts.sum()))


def mean_of(spreads: Sequence[Spread]) -> Spread | None:
    """The mean of several means, each drawn by itself; None without any."""
    if not spreads:
        return None
    drawn = np.mean([one.drawn for one in spreads], axis=0)
    value = sum(one.value for one in spreads) / len(spreads)
    return Spread(value, drawn, sum(one.n for one in spreads), sum(one.answers for one in spreads))


def _multiples(generator: np.random.Generator, count: int) -> np.ndarray:
    """(2000, count): how often each is drawn."""
    return generator.multinomial(count, np.full(count, 1 / count), DRAWS).astype(float)
