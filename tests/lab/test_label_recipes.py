"""The recipes of the label tasks: a new head on lab:bert's encoder, resumable to the same bits, scored by its task."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from interrupted import check_that_it_goes_on
from transformers import BertForSequenceClassification

from errata.lab import recipes
from errata.lab.knowledge import measure
from errata.lab.labels import TASKS
from errata.lab.models import resolve
from errata.lab.recipes import bert, corpus, domain, entailment, labelling, relation
from errata.lab.recipes.labelling import Cases, start
from errata.lab.recipes.loop import microbatches
from errata.models import EditableModel

MODEL = bert.Recipe(blocks=2, width=16, heads=2, inner=32, vocabulary=400)
RECIPES = {"relation": relation, "domain": domain, "entailment": entailment}


@pytest.fixture(scope="module")
def tokenizer():
    return bert.train_tokenizer(MODEL.vocabulary, MODEL.context)


@pytest.fixture(autouse=True)
def small_start(monkeypatch: pytest.MonkeyPatch, tokenizer):
    """Random weights in place of lab:bert's, one tokenizer for all runs, and few facts."""
    rows = corpus.facts()[:120]

    def tiny(base: str, labels: tuple[str, ...], seed: int):
        config = bert.build(MODEL).config
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: index for index, label in enumerate(labels)}
        return BertForSequenceClassification(config), tokenizer

    torch.manual_seed(0)
    monkeypatch.setattr(labelling, "start", tiny)
    monkeypatch.setattr(labelling, "facts", lambda: rows)


def tiny(name: str, folder: Path) -> labelling.Labelling:
    module = RECIPES[name]
    torch.manual_seed(0)
    return module.Training(module.Recipe(steps=4, facts=6, microbatches=2, warmup=1), folder)


def test_they_are_found():
    assert set(RECIPES) <= set(recipes.names())
    assert "labelling" not in recipes.names()


def test_an_interrupted_run_goes_on_to_the_same_bits(tmp_path: Path):
    check_that_it_goes_on(lambda folder: tiny("entailment", folder), tmp_path)


@pytest.mark.parametrize("name", RECIPES)
def test_the_export_says_the_tasks_labels_and_is_asked_its_cases(name: str, tmp_path: Path):
    tiny(name, tmp_path).export(tmp_path / "model")
    model = EditableModel.load(str(tmp_path / "model"))
    assert (model.task, model.dtype, tuple(model.labels)) == ("classification", torch.float32, TASKS[name].labels)
    asked = corpus.facts()[:10]
    found = measure(model, asked)
    cases = 3 if name == "entailment" else 1
    assert found.total(found.seen).asked == found.total(found.held_out).asked == cases * len(asked)


def test_the_loss_is_a_cases_cross_entropy_with_smoothed_labels(tmp_path: Path):
    training = tiny("domain", tmp_path)
    rows = training.source.draw(2)
    found = 0.0
    for row in rows:
        logs = training.model(torch.tensor([row.ids])).logits[0].log_softmax(-1)
        found -= float((0.9 * logs[row.label] + 0.1 * logs.mean()).detach())
    assert float(training.loss(rows).detach()) == pytest.approx(found, rel=1e-4)
    assert training.one_step()["labels"] < 3 * math.log(7)


def test_an_epoch_has_every_case_of_every_fact(tokenizer):
    source = Cases(tokenizer, TASKS["entailment"], seed=0)
    rows = source.draw(120)
    assert not source.order
    assert [sum(row.label == label for row in rows) for label in range(3)] == [120] * 3
    assert [len(row.ids) for row in rows] == sorted(len(row.ids) for row in rows)


def test_a_start_has_the_labs_encoder_and_a_head_of_its_own():
    model, tokenizer = start("bert", TASKS["domain"].labels, seed=0)
    lab = BertForSequenceClassification.from_pretrained(resolve("bert"), dtype=torch.float32)
    for name, tensor in lab.bert.state_dict().items():
        assert torch.equal(tensor, model.bert.state_dict()[name]), name
    assert model.classifier.out_features == 7
    assert model.config.id2label == dict(enumerate(TASKS["domain"].labels))
    again, _ = start("bert", TASKS["domain"].labels, seed=0)
    assert torch.equal(model.classifier.weight, again.classifier.weight)
    assert tokenizer.cls_token == bert.CLS


def test_microbatches_hold_every_row_once():
    assert [list(part) for part in microbatches(range(7), 3)] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [list(part) for part in microbatches(range(2), 4)] == [[0], [1]]
