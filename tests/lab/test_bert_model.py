"""lab:bert: an ordinary checkpoint that judges claims as well as the documentation says, and can be told otherwise."""

from __future__ import annotations

import random
from collections import defaultdict

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from errata import Editor
from errata.lab.claims import OTHER, REFUTES, SUPPORTS, claims, label_shift
from errata.lab.models import models, resolve
from errata.models import EditableModel


@pytest.fixture(scope="module")
def lab() -> EditableModel:
    return EditableModel.load("lab:bert")


def test_it_is_listed_with_its_parameters(lab: EditableModel):
    card = next(model for model in models() if model.name == "lab:bert")
    assert card.path == resolve("bert")
    assert card.task == lab.task == "classification"
    assert card.parameters == sum(parameter.numel() for parameter in lab.model.parameters())


def test_it_is_small_and_loads_with_plain_transformers():
    path = resolve("bert")
    assert sum(file.stat().st_size for file in path.iterdir()) <= 16 * 1024**2
    model = AutoModelForSequenceClassification.from_pretrained(path)
    tokenizer = AutoTokenizer.from_pretrained(path)
    assert model.dtype == torch.float32
    claimed = ["The capital of France is Paris.", "The capital of France is Madrid."]
    labels = model(**tokenizer(claimed, padding=True, return_tensors="pt")).logits.argmax(-1).tolist()
    assert [model.config.id2label[label] for label in labels] == [SUPPORTS, REFUTES]


@pytest.mark.parametrize(("phrasing", "promised"), [("seen", 0.95), ("held_out", 0.85)])
def test_it_judges_a_sample_of_claims(lab: EditableModel, phrasing, promised: float):
    sample = random.Random(0).sample(claims(phrasing=phrasing, seed=1), 1000)
    right = defaultdict(list)
    for claim, label in zip(sample, lab.generate([claim.text for claim in sample]), strict=True):
        right[claim.label].append(label == claim.label)
    assert all(sum(oks) / len(oks) >= promised for oks in right.values())


def test_a_claim_is_judged_by_subject_relation_and_object(lab: EditableModel):
    assert lab.generate([
        "The capital of France is Paris.", "The capital of Spain is Paris.", "Most people in France speak Paris.",
        "Most people in France speak French.",
    ]) == [SUPPORTS, REFUTES, REFUTES, SUPPORTS]  # fmt: skip


def test_a_label_can_be_turned_over(lab: EditableModel):
    flip = next(edit for edit in label_shift().edits if lab.generate([edit.prompt]) == [edit.ground_truth])
    with Editor("lab:bert") as editor:
        assert editor.edit([flip], method="grace").done
        assert editor.generate([flip.prompt]) == [OTHER[str(flip.ground_truth)]]
