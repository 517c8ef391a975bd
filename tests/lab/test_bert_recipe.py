"""The recipe of lab:bert: resumable to the same bits, exported as an ordinary classifier, and scored as it says."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from interrupted import check_that_it_goes_on, weights

from errata.lab import recipes
from errata.lab.claims import LABELS
from errata.lab.recipes import bert
from errata.lab.recipes.bert import Claims, Recipe, Training, lower_blocks, naming_loss, train_tokenizer
from errata.lab.recipes.corpus import facts
from errata.models import EditableModel

TINY = Recipe(
    blocks=2, width=16, heads=2, inner=32, vocabulary=400, context=128, recall=1, recalling=2, steps=4,
    facts=8, microbatches=2, warmup=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TINY.vocabulary, TINY.context)


@pytest.fixture(autouse=True)
def small_world(monkeypatch: pytest.MonkeyPatch, tokenizer):
    """One tokenizer and few facts for all runs: preparing them is most of a tiny run."""
    rows = facts()[:200]
    monkeypatch.setattr(bert, "train_tokenizer", lambda vocabulary, context: tokenizer)
    monkeypatch.setattr(bert, "facts", lambda: rows)


def test_an_interrupted_run_goes_on_to_the_same_bits(tmp_path: Path):
    check_that_it_goes_on(lambda folder: Training(TINY, folder), tmp_path, steps=1)


def test_the_export_is_a_classifier_that_loads_as_float32(tmp_path: Path):
    Training(TINY, tmp_path).export(tmp_path / "model")
    model = EditableModel.load(str(tmp_path / "model"))
    assert (model.task, model.dtype, model.labels) == ("classification", torch.float32, list(LABELS))
    ids = model.tokenizer("A claim.")["input_ids"]
    assert (ids[0], ids[-1]) == (model.tokenizer.cls_token_id, model.tokenizer.sep_token_id)
    assert model.tokenizer.decode(ids, skip_special_tokens=True) == "A claim."


def test_first_the_lower_blocks_learn_alone(tmp_path: Path):
    training = Training(TINY, tmp_path)
    start = weights(training)
    assert set(training.one_step()) == {"objects"}
    moved = {name for name, tensor in weights(training).items() if (tensor - start[name]).abs().max() > 1e-4}
    assert any(".layer.0." in name for name in moved)
    assert not any(".layer.1." in name or "classifier" in name for name in moved)
    training.step = TINY.recalling
    assert set(training.one_step()) == {"objects", "labels"}


def test_both_parts_name_objects_from_the_same_states(tmp_path: Path):
    training = Training(TINY, tmp_path)
    rows = training.source.draw(6)
    named, _ = training.losses(rows)
    false = [row for row in rows if row.correction]
    assert float(named.detach()) == pytest.approx(float(training.recall_loss(false).detach()), rel=1e-4)
    with lower_blocks(training.model, 1):
        assert len(training.model.bert.encoder.layer) == 1
    assert len(training.model.bert.encoder.layer) == 2


def test_naming_is_the_mean_over_an_objects_tokens_in_any_order():
    embeddings = torch.eye(4)
    states = torch.tensor([[math.log(2), 0.0, 0.0, 0.0]])  # probabilities 2/5, 1/5, 1/5, 1/5
    wanted = -(math.log(2 / 5) + math.log(1 / 5)) / 2
    for named in ([[0, 3]], [[3, 0]]):
        assert float(naming_loss(states, embeddings, named)) == pytest.approx(wanted)


def test_an_epoch_holds_every_fact_as_a_true_and_a_false_claim(tokenizer):
    rows = facts()[:40]
    source = Claims(tokenizer, rows, seed=1)
    drawn = source.draw(len(rows))
    assert not source.order
    assert [row.label for row in drawn].count(0) == [row.label for row in drawn].count(1) == len(rows)
    assert all(bool(row.correction) == (LABELS[row.label] == "REFUTES") for row in drawn)
    texts = {tokenizer.decode(row.correction).strip() for row in drawn if row.correction}
    assert texts == {row["target"] for row in rows}
    assert all(row.correction for row in source.draw(5, false_only=True))


def test_negatives_are_drawn_anew_every_epoch(tokenizer):
    source = Claims(tokenizer, facts()[:40], seed=1)
    first, second = ({tuple(row.ids) for row in source.draw(40, false_only=True)} for _ in range(2))
    assert len(first & second) < 20


def test_the_recipe_is_found():
    assert "bert" in recipes.names()
