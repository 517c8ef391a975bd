"""Recipes: what is wrong is refused in one line that says what would be right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from errata.errors import BadConfig, UnknownName
from errata.evaluate.recipe import Contender, Recipe, packaged, read

GOOD: dict[str, Any] = {"model": "lab:gpt", "dataset": "counterfact", "methods": ["grace"]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metods": []}, "Did you mean 'methods'"),
        ({"methods": []}, "names no method"),
        ({"model": ""}, "names no model"),
        ({"n": "ten"}, "'n' must be int or nothing, not 'ten'"),
        ({"errors_only": 1}, "'errors_only' must be bool"),
        ({"size": 0}, "'size' is 0"),
        ({"checkpoints": 10}, "must be a list"),
        ({"methods": ["grace", "grace"]}, "share a label"),
        ({"methods": [{"radius": 3}]}, "a method is a name"),
        ({"methods": [{"method": "grace", "label": "../up"}]}, "names a folder"),
    ],
)
def test_a_wrong_recipe_is_refused(changes: dict[str, Any], message: str):
    with pytest.raises(BadConfig, match=message.replace("(", r"\(")):
        Recipe.of(GOOD | changes)


def test_an_unknown_protocol_is_a_wrong_name():
    with pytest.raises(UnknownName, match="sequential"):
        Recipe.of(GOOD | {"protocol": "sequentail"})


def test_a_recipe_survives_its_own_json():
    recipe = Recipe.of(GOOD | {"methods": ["grace", {"method": "grace", "radius": 4.0}], "checkpoints": [5, 10]})
    assert Recipe.of(recipe.to_json()) == recipe
    assert recipe.methods[1] == Contender("grace", "grace radius=4.0", {"radius": 4.0})


@pytest.mark.parametrize(
    ("checkpoints", "total", "moments"),
    [([], 250, [1, 10, 100, 250]), ([], 100, [1, 10, 100]), ([50, 300], 200, [50, 200])],
)
def test_measured_at_powers_of_ten_or_where_told_and_at_the_end(checkpoints: list[int], total: int, moments: list[int]):
    assert Recipe.of(GOOD | {"checkpoints": checkpoints}).moments(total) == moments


def test_a_file_that_is_no_recipe_says_so(tmp_path: Path):
    (tmp_path / "list.yaml").write_text("- grace\n")
    (tmp_path / "torn.yaml").write_text("model: [\n")
    with pytest.raises(BadConfig, match="is a mapping"):
        read(str(tmp_path / "list.yaml"))
    with pytest.raises(BadConfig, match="no YAML"):
        read(str(tmp_path / "torn.yaml"))
    with pytest.raises(BadConfig, match="cannot be read"):
        read(str(tmp_path / "absent.yaml"))
    with pytest.raises(UnknownName, match="unknown recipe"):
        read("graec")


def test_packaged_recipes_are_sound():
    assert packaged()
    for values in map(read, packaged()):
        if "study" not in values:  # which is a plan of its own
            Recipe.of(values)
