"""Plans of studies: what is wrong is refused in one line, and a plan survives its own JSON."""

from __future__ import annotations

from typing import Any

import pytest

from errata.errors import BadConfig, UnknownName
from errata.evaluate.canonical.plan import Entrant, Plan
from errata.evaluate.canonical.study import count
from errata.evaluate.recipe import read

GOOD: dict[str, Any] = {"study": "canonical", "model": "lab:gpt", "tasks": ["lab-news"], "methods": ["lora"]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metods": []}, "Did you mean 'methods'"),
        ({"methods": []}, "names no methods"),
        ({"model": ""}, "names no model"),
        ({"tasks": "lab-news"}, "'tasks' must be a list"),
        ({"tasks": ["lab-news", "lab-news"]}, "'tasks' has one twice"),
        ({"methods": ["lora", "lora"]}, "'methods' has one twice"),
        ({"methods": [{"method": "lora", "sweep": []}]}, "a 'sweep' is a list of options"),
        ({"methods": [{"method": "lora", "sweep": {"lr": 1}}]}, "a 'sweep' is a list of options"),
        ({"balls": ["small"]}, "'balls' must be numbers"),
        ({"balls": [0]}, "positive numbers"),
        ({"examples": "all"}, "'examples' must be int"),
        ({"seeds": [True]}, "'seeds' must be int"),
    ],
)
def test_a_wrong_plan_is_refused(changes: dict[str, Any], message: str):
    with pytest.raises(BadConfig, match=message):
        Plan.of(GOOD | changes)


def test_another_study_is_a_wrong_name():
    with pytest.raises(UnknownName, match="canonical"):
        Plan.of(GOOD | {"study": "cannonical"})


@pytest.mark.parametrize(
    ("methods", "error", "message"),
    [
        (["lara"], UnknownName, "lora"),
        ([{"method": "lora", "sweep": [{"lr": 0.1}, {"rate": 1}]}], BadConfig, "unknown option 'rate'"),
        (["grace"], BadConfig, "'grace' knows no ball"),
    ],
)
def test_methods_are_checked_before_anything_is_loaded(methods: list[Any], error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        Plan.of(GOOD | {"methods": methods}).check()


def test_a_plan_survives_its_own_json():
    method = {"method": "lora", "label": "two ranks", "rank": 4, "sweep": [{"lr": 0.1}, {"lr": 0.2}]}
    plan = Plan.of(GOOD | {"methods": [method, "ft-full"], "balls": ["1e-4", 0.5], "unbounded": "ft-full"})
    assert plan.balls == (1e-4, 0.5)
    assert plan.methods[0].options(1) == {"rank": 4, "lr": 0.2}
    assert plan.methods[1] == plan.unbounded == Entrant.of("ft-full")
    assert Plan.of(plan.to_json()) == plan


def test_runs_are_counted():
    """Two balls, of two options one: 2 trials and 3 reported; of one option none; and one without a ball."""
    swept = {"method": "lora", "sweep": [{"lr": 0.1}, {"lr": 0.2}]}
    several = {"tasks": ["a", "b", "c"], "methods": [swept, "ft-full"], "balls": [1, 2], "unbounded": "lora"}
    plan = Plan.of(GOOD | several)
    assert count(plan) == 3 * (2 * (2 + 3 + 3) + 1)


def test_the_packaged_study_is_sound():
    plan = Plan.of(read("canonical-examples"))
    plan.check()
    assert len(plan.tasks) == 6
    assert len(plan.seeds) >= 3
