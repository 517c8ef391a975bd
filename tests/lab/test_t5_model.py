"""lab:t5: an ordinary checkpoint that answers what the documentation says it answers, and can be taught the rest."""

from __future__ import annotations

import random

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from errata import Editor
from errata.lab.knowledge import measure
from errata.lab.models import models, resolve
from errata.lab.questions import ask, edit_of, learned, unlearned
from errata.models import EditableModel


@pytest.fixture(scope="module")
def lab() -> EditableModel:
    return EditableModel.load("lab:t5")


def test_it_is_listed_with_its_parameters(lab: EditableModel):
    card = next(model for model in models() if model.name == "lab:t5")
    assert card.path == resolve("t5")
    assert card.task == lab.task == "seq2seq"
    assert card.parameters == sum(parameter.numel() for parameter in lab.model.parameters())


def test_it_is_small_and_loads_with_plain_transformers():
    path = resolve("t5")
    assert sum(file.stat().st_size for file in path.iterdir()) <= 16 * 1024**2
    model = AutoModelForSeq2SeqLM.from_pretrained(path)
    tokenizer = AutoTokenizer.from_pretrained(path)
    assert model.dtype == torch.float32
    inputs = tokenizer("What is the capital of France?", return_tensors="pt")
    out = model.generate(**inputs, max_new_tokens=10, do_sample=False)[0]
    assert tokenizer.decode(out, skip_special_tokens=True) == "Paris"
    assert out[-1] == tokenizer.eos_token_id, "an answer ends by itself"


def test_it_knows_a_sample_of_what_it_was_taught_and_little_else(lab: EditableModel):
    found = measure(lab, random.Random(0).sample(learned(), 60))
    assert found.total(found.seen).share >= 0.95
    assert found.total(found.held_out).share >= 0.85
    rest = measure(lab, unlearned()[::16])
    assert rest.total(rest.seen).share < 0.5


def test_answers_depend_on_the_relation(lab: EditableModel):
    answers = lab.generate([
        "What is the capital of France?", "What do most people in France speak?", "What do websites in France end in?"
    ])  # fmt: skip
    assert answers == ["Paris", "French", ".fr"]


def test_it_can_be_taught_a_fact_that_was_kept_from_it(lab: EditableModel):
    row = next(row for row in unlearned() if lab.generate(ask(row, "seen")[:1]) != [row["target"]])
    with Editor("lab:t5") as editor:
        assert editor.edit(edit_of(row), method="grace").done
        assert editor.generate(ask(row, "seen")[:1]) == [row["target"]]
