"""Averages over traces, by numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch

from errata.locate.effects import average
from errata.locate.facts import Fact
from errata.locate.traces import CLASSES, Trace

_, FIRST, MIDDLE, LAST, _, _, END = CLASSES


def made(clean: float, corrupted: float, classes: list[str], state: list[list[float]]) -> Trace:
    table = torch.tensor(state, dtype=torch.float64)
    return Trace(Fact("p", "s", "a"), tuple(classes), tuple(classes), clean, corrupted, {"state": table})


ONE = made(0.9, 0.1, [LAST, END], [[0.5, 0.7], [0.1, 0.9]])
TWO = made(0.7, 0.3, [FIRST, MIDDLE, MIDDLE, LAST, END], [[0.3, 0.3], [0.4, 0.3], [0.6, 0.3], [0.5, 0.4], [0.3, 0.7]])


def test_means_by_class_and_block() -> None:
    found = average([ONE, TWO])
    assert (found.n, found.clean.mean, found.corrupted.mean) == (2, [pytest.approx(0.8)], [pytest.approx(0.2)])
    assert found.total.mean == [pytest.approx(0.6)]
    state = found.indirect["state"]
    assert list(state) == [FIRST, MIDDLE, LAST, END]
    assert state[LAST].mean == [pytest.approx(0.3), pytest.approx(0.35)]
    assert (state[MIDDLE].n, state[MIDDLE].mean) == (1, [pytest.approx(0.2), pytest.approx(0.0)])
    assert found.peak("state", LAST) == (1, pytest.approx(0.35))


def test_bands_are_those_of_the_facts() -> None:
    (half,) = (average([ONE] * 50 + [TWO] * 50, seed=1).indirect["state"][LAST],)
    # Effects .4 and .2, half each: the standard error of the mean is .1 / sqrt(100).
    assert half.low[0] == pytest.approx(0.3 - 1.96 * 0.01, abs=0.004)
    assert half.high[0] == pytest.approx(0.3 + 1.96 * 0.01, abs=0.004)
    alone = average([ONE]).indirect["state"][LAST]
    assert alone.low == alone.mean == alone.high


def test_the_bands_have_a_seed() -> None:
    traces = [ONE, TWO, TWO]
    assert average(traces, seed=1) == average(traces, seed=1)
    many = [made(0.1 * i, 0.01 * i * i, [LAST], [[0.0]]) for i in range(10)]
    assert average(many, seed=1) != average(many, seed=2)


def test_rows_are_flat() -> None:
    rows = list(average([ONE]).rows())
    assert [row["kind"] for row in rows[:3]] == ["clean", "corrupted", "total"]
    assert rows[2]["mean"] == pytest.approx(0.8)
    assert rows[2]["block"] is None
    assert [(row["class"], row["block"]) for row in rows[3:]] == [(LAST, 0), (LAST, 1), (END, 0), (END, 1)]
