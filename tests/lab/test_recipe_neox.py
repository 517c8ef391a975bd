"""The recipe of neox: lab:gpt's with another architecture, and rows that ask."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from interrupted import check_that_it_goes_on
from small_world import VOCABULARY, shrink, tokenizer
from transformers import GPTNeoXForCausalLM

from errata.lab import recipes
from errata.lab.questions import ask
from errata.lab.recipes import corpus
from errata.lab.recipes.corpus import Corpus
from errata.lab.recipes.gpt import Phase
from errata.lab.recipes.neox import Recipe, Training
from errata.models import EditableModel

TINY = Recipe(
    blocks=2, width=16, heads=2, inner=32, vocabulary=VOCABULARY, context=64, phases=(Phase(4),),
    sentences=8, prose_rows=1, microbatches=2,
)  # fmt: skip


@pytest.fixture(autouse=True)
def small_world(monkeypatch: pytest.MonkeyPatch):
    shrink(monkeypatch)


def test_it_is_a_recipe_by_name():
    assert "neox" in recipes.names()


def test_an_interrupted_run_goes_on_to_the_same_bits(tmp_path: Path):
    check_that_it_goes_on(lambda folder: Training(TINY, folder), tmp_path)


def test_the_export_is_a_gpt_neox_that_loads_as_float32(tmp_path: Path):
    Training(TINY, tmp_path).export(tmp_path / "model")
    model = EditableModel.load(str(tmp_path / "model"))
    assert isinstance(model.model, GPTNeoXForCausalLM)
    assert (model.task, model.dtype, len(model.arch)) == ("causal", torch.float32, 2)
    assert model.model.generation_config.eos_token_id == model.tokenizer.eos_token_id


def test_the_matrices_of_its_blocks_are_muons(tmp_path: Path):
    training = Training(TINY, tmp_path)
    muon = {id(parameter) for parameter in training.optimizers[0].param_groups[0]["params"]}
    named = dict(training.model.named_parameters())
    assert {name for name, p in named.items() if id(p) in muon} == {
        name for name, p in named.items() if ".layers." in name and p.ndim == 2
    }
    assert len(muon) == 2 * 4


def test_a_step_lowers_the_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    training = Training(replace(TINY, warmup=1), tmp_path)
    rows = training.source.draw(8)
    monkeypatch.setattr(training.source, "draw", lambda count: rows)
    losses = [training.one_step()["answers"] for _ in range(4)]
    assert losses == sorted(losses, reverse=True)


def test_a_third_of_the_rows_asks_a_seen_question_and_answers_it():
    words = tokenizer(TINY.context)
    rows = Corpus(words, TINY.context, seed=0, questions=1 / 3).draw(600)
    told = {f"{text} {row['target']}" for row in corpus.facts() for text in corpus.phrasings(row)}
    asked = {f"{text} {row['target']}" for row in corpus.facts() for text in ask(row, "seen")} - told
    texts = [words.decode(row.ids, skip_special_tokens=True) for row in rows]
    # some rows begin with other text
    questions = [text for text in texts if any(text.endswith(question) for question in asked)]
    assert 160 < len(questions) < 240
    assert all(any(text.endswith(one) for one in told) for text in texts if text not in questions)
    for row in rows[:50]:
        first, last = row.subject
        subject = words.decode(row.ids[first : last + 1]).strip()
        assert any(fact["subject"] in subject for fact in corpus.facts())


def test_who_asks_nothing_draws_as_before():
    words = tokenizer(TINY.context)
    plain = Corpus(words, TINY.context, seed=0).draw(5)
    assert plain == Corpus(words, TINY.context, seed=0, questions=0.0).draw(5)
    assert plain != Corpus(words, TINY.context, seed=0, questions=1.0).draw(5)
