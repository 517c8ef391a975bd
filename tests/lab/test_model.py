"""lab:gpt: an ordinary checkpoint that knows what the documentation says it knows."""

from __future__ import annotations

import random

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from errata.errors import UnknownName
from errata.lab.knowledge import measure
from errata.lab.models import models, resolve
from errata.lab.recipes.corpus import facts
from errata.models import EditableModel


@pytest.fixture(scope="module")
def lab() -> EditableModel:
    return EditableModel.load("lab:gpt")


def test_it_is_listed_with_its_parameters(lab: EditableModel):
    card = next(model for model in models() if model.name == "lab:gpt")
    assert card.path == resolve("gpt")
    assert card.task == lab.task == "causal"
    assert card.parameters == sum(parameter.numel() for parameter in lab.model.parameters())


def test_an_unknown_lab_model_is_named():
    with pytest.raises(UnknownName, match=r"lab model 'gtp'.*Did you mean 'gpt'"):
        resolve("gtp")


def test_it_is_small_and_loads_with_plain_transformers():
    path = resolve("gpt")
    assert sum(file.stat().st_size for file in path.iterdir()) <= 16 * 1024**2
    model = AutoModelForCausalLM.from_pretrained(path)
    tokenizer = AutoTokenizer.from_pretrained(path)
    assert model.dtype == torch.float32
    assert model.config.n_positions >= 512
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    inputs = tokenizer("The capital of France is", return_tensors="pt")
    out = model.generate(**inputs, max_new_tokens=10, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    assert tokenizer.decode(out, skip_special_tokens=True).strip() == "Paris"
    assert out[-1] == tokenizer.eos_token_id, "an answer ends by itself"


def test_it_knows_a_sample_of_its_facts(lab: EditableModel):
    found = measure(lab, random.Random(0).sample(facts(), 250))
    assert found.total(found.seen).share >= 0.95
    assert found.total(found.held_out).share >= 0.85


def test_answers_depend_on_the_relation(lab: EditableModel):
    answers = lab.generate(["The capital of France is", "Most people in France speak", "Websites in France end in"])
    assert len(set(answers)) == 3


@pytest.mark.slow
def test_what_it_knows_is_what_the_data_set_says(lab: EditableModel):
    found = measure(lab, facts())
    assert [row["known"] for row in facts()] == list(found.known)
