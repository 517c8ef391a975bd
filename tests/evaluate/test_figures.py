"""Figures: intervals worked out by hand, and units that count once."""

from __future__ import annotations

import pytest

from errata.evaluate.figures import Z, bootstrap, change, exact_value, mean, share

close = pytest.approx


def test_share_has_wilsons_interval_over_units() -> None:
    figure = share([("a", 1), ("b", 1), ("c", 1), ("d", 1)])
    # p = 1: the interval is [1 / (1 + z^2 / n), 1]
    assert figure is not None
    assert (figure.value, figure.n, figure.answers) == (1, 4, 4)
    assert figure.high == close(1)
    assert figure.low == close(1 / (1 + Z * Z / 4))


def test_share_of_half_is_symmetric() -> None:
    figure = share([("a", 1), ("b", 0)])
    assert figure is not None
    # half-width: z sqrt(1/8 + z^2/16) / (1 + z^2/2)
    assert figure.high - 0.5 == close(0.5 - figure.low)
    assert figure.high - 0.5 == close(Z * (1 / 8 + Z * Z / 16) ** 0.5 / (1 + Z * Z / 2))


def test_answers_of_a_unit_are_one_observation() -> None:
    figure = share([("a", 1), ("a", 1), ("a", 1), ("b", 0)])
    assert figure is not None
    assert (figure.value, figure.n, figure.answers) == (0.5, 2, 4)


def test_nothing_has_no_figure() -> None:
    assert share([]) is None
    assert mean([]) is None


def test_bootstrap_is_seeded_and_covers_the_mean() -> None:
    values = [float(value) for value in range(20)]
    low, high = bootstrap(values)
    assert (low, high) == bootstrap(values)
    # the mean's standard error is sqrt(33.25 / 20) = 1.289; 95 % is about 9.5 +- 2.5
    assert low == close(9.5 - 2.5, abs=0.3)
    assert high == close(9.5 + 2.5, abs=0.3)


def test_a_mean_may_be_negative_and_an_exact_value_has_no_width() -> None:
    figure = mean([("a", -1.0), ("b", -3.0)])
    assert figure is not None
    assert (figure.value, figure.low, figure.high) == (-2, -3, -1)
    assert exact_value(0.25, 3).to_json() == {"value": 0.25, "low": 0.25, "high": 0.25, "n": 3, "answers": 3}


def test_a_change_is_what_fell_less_what_rose_and_is_never_certain() -> None:
    # Of 4 questions two fell and one rose: (2 - 1) / 4. Wilson for 2 of 4 is [0.150, 0.850], for 1 of 4 [0.046, 0.699].
    found = change([("a", 1, 0), ("b", 1, 0), ("c", 0, 1), ("d", 1, 1)])
    assert found is not None
    assert found.value == pytest.approx(0.25)
    assert (found.low, found.high) == (pytest.approx(0.150 - 0.699, abs=1e-3), pytest.approx(0.850 - 0.046, abs=1e-3))
    still = change([("a", 1, 1), ("b", 1, 1)])
    assert still is not None
    assert still.value == 0
    assert still.low < 0 < still.high
    assert change([]) is None
