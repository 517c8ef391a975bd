"""Means over runs and subjects: values by hand, and intervals that know what belongs together."""

from __future__ import annotations

import numpy as np
import pytest

from errata.evaluate.canonical.gains import mean_of, spread


def test_the_mean_is_over_all_grades_however_they_are_spread():
    found = spread([[("a", 1.0), ("a", 0.0), ("b", 1.0)], [("c", 1.0), ("c", 1.0)]])
    assert found is not None
    assert (found.value, found.n, found.answers) == (pytest.approx(4 / 5), 3, 5)


def test_nothing_has_no_mean():
    assert spread([]) is spread([[], []]) is mean_of([]) is None


def test_what_never_differs_has_no_width():
    found = spread([[("a", 0.25), ("b", 0.25)], [("c", 0.25)]])
    assert found is not None
    figure = found.figure()
    assert (figure.low, figure.high) == pytest.approx((0.25, 0.25))


def test_subjects_that_all_runs_share_are_drawn_for_all_of_them():
    """One of two subjects succeeds, in each of many runs: the runs add nothing to what two subjects can tell."""
    found = spread([[("a", 1.0), ("b", 0.0)]] * 10)
    assert found is not None
    figure = found.figure()
    assert (figure.value, figure.low, figure.high, figure.n) == (0.5, 0.0, 1.0, 2)
    # both draws are the same subject in half of the cases
    assert np.mean(np.isin(found.drawn, [0.0, 1.0])) == pytest.approx(0.5, abs=0.05)


def test_runs_that_differ_widen_the_interval():
    alike = spread([[(name, 0.5) for name in "abcdef"]] * 3)
    apart = spread([[(name, grade) for name in "abcdef"] for grade in (0.0, 0.5, 1.0)])
    assert alike is not None
    assert apart is not None
    assert alike.value == apart.value == 0.5
    assert apart.figure().high - apart.figure().low == pytest.approx(1.0)


def test_a_mean_of_means_weighs_them_alike_and_draws_them_apart():
    one, other = spread([[("a", 1.0), ("b", 0.0)]], 1), spread([[("c", 0.0), ("d", 1.0)] * 20], 2)
    assert one is not None
    assert other is not None
    both = mean_of([one, other])
    assert both is not None
    assert (both.value, both.n, both.answers) == (0.5, 4, 42)
    # all from the same side only if both are: a quarter of a quarter each, not a quarter
    assert np.mean(both.drawn == 1.0) == pytest.approx(1 / 16, abs=0.02)


def test_draws_are_seeded():
    grades = [[(str(place), float(place % 3)) for place in range(9)]]
    first, again, other = spread(grades, 3), spread(grades, 3), spread(grades, 4)
    assert first is not None
    assert again is not None
    assert other is not None
    assert (first.drawn == again.drawn).all()
    assert (first.drawn != other.drawn).any()
