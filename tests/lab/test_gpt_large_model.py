"""lab:gpt-large: the big model of an ensemble, four times lab:gpt, which shares its words and knows its facts."""

from __future__ import annotations

import random

import pytest

from errata.lab.knowledge import measure
from errata.lab.models import models, resolve
from errata.lab.recipes.corpus import facts
from errata.models import EditableModel
from errata.patches.correcting import shared_ids


@pytest.fixture(scope="module")
def large() -> EditableModel:
    return EditableModel.load("lab:gpt-large")


def test_it_is_four_times_as_large_and_small_enough_to_ship(large: EditableModel):
    cards = {model.name: model for model in models()}
    assert cards["lab:gpt-large"].parameters == sum(parameter.numel() for parameter in large.model.parameters())
    assert cards["lab:gpt-large"].parameters >= 4 * cards["lab:gpt"].parameters
    assert sum(file.stat().st_size for file in resolve("gpt-large").iterdir()) <= 48e6


@pytest.mark.parametrize("small", ["lab:backpack", "lab:gpt"])
def test_it_shares_every_token_with_the_small_models(large: EditableModel, small: str):
    other = EditableModel.load(small)
    assert shared_ids(large, other) == large.model.config.vocab_size == other.model.config.vocab_size


def test_it_knows_a_sample_of_the_facts(large: EditableModel):
    found = measure(large, random.Random(1).sample(facts(), 60))
    assert found.total(found.seen).share >= 0.95
    assert found.total(found.held_out).share >= 0.9
