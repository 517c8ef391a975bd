"""Gates: what they read, which end of an interval they judge, and what they say."""

from __future__ import annotations

import pytest

from errata.errors import BadConfig, UnknownName
from errata.evaluate.figures import Figure
from errata.evaluate.gate import Condition, Gate

FIGURES = {
    "locality": Figure(0.99, 0.95, 1.0, 100, 300),
    "locality.neighbour": Figure(0.97, 0.9, 0.99, 50, 90),
    "drawdown": Figure(0.001, -0.002, 0.004, 100, 100),
}


def passed(text: str, *, strict: bool = False) -> list[bool]:
    return [verdict.passed for verdict in Gate.parse(text, strict=strict).check(FIGURES)]


def test_conditions_are_read_with_their_signs_and_numbers() -> None:
    gate = Gate.parse(" locality >= 0.99, drawdown<=1e-3,kl<.5,f1>-1,accuracy.before==1 ")
    assert gate.conditions == (
        Condition("locality", ">=", 0.99), Condition("drawdown", "<=", 0.001), Condition("kl", "<", 0.5),
        Condition("f1", ">", -1), Condition("accuracy.before", "==", 1),
    )  # fmt: skip
    assert gate.metrics == ["locality", "drawdown", "kl", "f1", "accuracy"]


@pytest.mark.parametrize("text", ["", ",", "kl", "kl>=", "kl=>1", "kl>=high", "kl>=1;f1<1", "kl>=1 f1<1"])
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(BadConfig, match="is no condition; write metric>=number"):
        Gate.parse(text)


def test_an_unknown_metric_is_refused_before_anything_runs() -> None:
    with pytest.raises(UnknownName, match=r"'localty'.*Did you mean 'locality'"):
        Gate.parse("localty.neighbour>=1")


def test_the_value_is_judged_at_its_very_bound() -> None:
    assert passed("locality>=0.99,locality>0.99,locality<=0.99,locality<0.99,locality==0.99") == [
        True, False, True, False, True,
    ]  # fmt: skip
    assert passed("drawdown<=0.001,locality.neighbour>=0.98") == [True, False]


def test_strict_judges_the_unfavourable_end() -> None:
    assert passed("locality>=0.96,locality>=0.95,drawdown<=0.003,drawdown<=0.004", strict=True) == [
        False, True, False, True,
    ]  # fmt: skip
    # of [0.95, 1] the end farther from 0.99 is 0.95
    assert passed("locality==0.99,locality==1", strict=True) == [False, False]


def test_a_figure_that_is_not_there_fails_and_says_so() -> None:
    (verdict,) = Gate.parse("locality.neighbor>=0.5").check(FIGURES)
    assert not verdict.passed
    assert verdict.figure is None
    assert "was not measured" in str(verdict)
    assert "Did you mean 'locality.neighbour'?" in str(verdict)


def test_a_verdict_tells_condition_value_and_n() -> None:
    lines = [str(verdict) for verdict in Gate.parse("locality>=1,drawdown<=0.01").check(FIGURES)]
    assert lines == [
        "FAILED  locality>=1  the value 0.99 misses it (n=100)",
        "passed  drawdown<=0.01  the value 0.001 meets it (n=100)",
    ]
    (strict,) = Gate.parse("locality>=0.99", strict=True).check(FIGURES)
    assert str(strict) == "FAILED  locality>=0.99  the interval's end 0.95 misses it (n=100)"
