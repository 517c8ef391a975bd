"""The recipe of gpt-large: lab:gpt's with four times the parameters, small enough to be carried about."""

from __future__ import annotations

from pathlib import Path

import torch
from interrupted import check_that_it_goes_on
from small_world import VOCABULARY, shrink

from errata.lab import recipes
from errata.lab.recipes import gpt
from errata.lab.recipes.gpt import Phase
from errata.lab.recipes.gpt_large import Recipe, Training
from errata.models import EditableModel


def test_it_is_a_recipe_by_name():
    assert "gpt-large" in recipes.names()


def test_four_times_the_parameters_in_at_most_48_megabytes():
    tokenizer = EditableModel.load("lab:gpt").tokenizer
    with torch.device("meta"):
        large, plain = (gpt.build(recipe, tokenizer).num_parameters() for recipe in (Recipe(), gpt.Recipe()))
    assert large >= 4 * plain
    assert 22e6 < large < 24e6
    assert 2 * large < 48e6


def test_it_runs_by_its_name_and_its_vocabulary_is_lab_gpts(tmp_path: Path, monkeypatch):
    tiny = Recipe(
        blocks=2, width=16, heads=2, inner=32, vocabulary=VOCABULARY, context=64, phases=(Phase(4),), sentences=8,
        prose_rows=1, microbatches=2,
    )  # fmt: skip
    assert (Recipe().vocabulary, Recipe().context) == (gpt.Recipe().vocabulary, gpt.Recipe().context)
    shrink(monkeypatch)
    check_that_it_goes_on(lambda folder: Training(tiny, folder), tmp_path)
    monkeypatch.setattr("errata.lab.recipes.gpt_large.Recipe", lambda: tiny)
    assert isinstance(recipes.training("gpt-large", tmp_path / "new"), Training)
