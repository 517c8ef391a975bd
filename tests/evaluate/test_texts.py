"""Texts, continuations and weights of a model, with and without its patches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from errata.errors import BadConfig
from errata.evaluate import texts as texts_module
from errata.evaluate.questions import Question
from errata.evaluate.sampling import continuations
from errata.evaluate.texts import Reference, Weights, general_texts
from errata.models import EditableModel
from errata.patches.weights import Dense, WeightPatch, parameter_view
from tiny import tiny_model

TEXTS = ["The capital of France is Paris.", "Berlin is the capital of Germany; Madrid too.", "Who wrote it?"]
MATRIX = "transformer.h.1.mlp.c_proj.weight"


@pytest.fixture
def model() -> EditableModel:
    return tiny_model("gpt2")


@pytest.fixture
def patched(model: EditableModel) -> Iterator[EditableModel]:
    """The model with one matrix multiplied by 1.5: half as far from the original as the original is long."""
    change = parameter_view(model.model, MATRIX).clone() / 2
    patch = WeightPatch({MATRIX: Dense(change)}, method="test", config={}, edits=["e1"])
    patch.attach(model)
    yield model
    patch.detach(model)


def log_probs(model: EditableModel, text: str) -> torch.Tensor:
    """(T - 1, V): what the model gives after each token but the last, straight from the network."""
    ids = torch.tensor([model.tokenizer(text)["input_ids"]])
    with torch.no_grad():
        return model.model(ids).logits[0, :-1].log_softmax(-1)


def test_an_unedited_model_has_not_moved(model: EditableModel) -> None:
    for text, found in zip(TEXTS, Reference(model, TEXTS).score(), strict=True):
        ids = torch.tensor(model.tokenizer(text)["input_ids"])
        nll = -log_probs(model, text).gather(1, ids[1:, None]).sum().item()
        assert found.tokens == len(ids) - 1
        assert found.nll == pytest.approx(nll, rel=1e-4)
        assert found.nll_before == found.nll
        assert found.kl == 0


def test_a_patched_model_is_held_against_itself_without_patches(patched: EditableModel) -> None:
    found = Reference(patched, TEXTS).score()
    now = [log_probs(patched, text) for text in TEXTS]
    original = tiny_model("gpt2")
    for text, score, after in zip(TEXTS, found, now, strict=True):
        before = log_probs(original, text)
        ids = torch.tensor(patched.tokenizer(text)["input_ids"])[1:, None]
        assert score.nll == pytest.approx(-after.gather(1, ids).sum().item(), rel=1e-4)
        assert score.nll_before == pytest.approx(-before.gather(1, ids).sum().item(), rel=1e-4)
        divergence = (before.exp() * (before - after)).sum(1).mean().item()
        assert score.kl == pytest.approx(divergence, rel=1e-3)
        assert score.kl > 0.01


def test_texts_in_small_groups_score_the_same(patched: EditableModel, monkeypatch: pytest.MonkeyPatch) -> None:
    together = Reference(patched, TEXTS).score()
    monkeypatch.setattr(texts_module, "HELD", 1)
    alone = Reference(patched, TEXTS).score()
    assert [text.nll for text in alone] == pytest.approx([text.nll for text in together], rel=1e-5)
    total, tokens = sum(text.nll for text in alone[:2]), sum(text.tokens for text in alone[:2])
    assert Reference(patched, TEXTS).perplexity(2) == pytest.approx(2.718281828 ** (total / tokens), rel=1e-4)


def test_a_model_that_is_not_causal_has_no_texts() -> None:
    reference = Reference(tiny_model("t5"), TEXTS)
    assert reference.score() == []
    assert reference.continued([Question("reliability", "p", "q", "e1")]) == []


def test_moved_weights_are_measured_from_their_originals(patched: EditableModel) -> None:
    before = parameter_view(patched.model, MATRIX).clone()
    (moved,) = Weights(patched).moved()
    assert moved.name == MATRIX
    assert moved.distance == pytest.approx(moved.norm / 2, rel=1e-5)
    assert moved.size == before.numel()
    assert torch.equal(parameter_view(patched.model, MATRIX), before)


def test_without_patches_nothing_moved(model: EditableModel) -> None:
    assert Weights(model).moved() == []


def test_general_texts_fit_the_model_and_come_from_the_package(model: EditableModel) -> None:
    every = general_texts(model)
    assert all(len(model.tokenizer(text)["input_ids"]) <= (model.context or 0) for text in every)
    found = general_texts(model, 5)
    assert found == [every[place * len(every) // 5] for place in range(5)], "from all over the text"
    assert len(set(found)) == 5


def test_general_texts_of_a_file_keep_paragraphs_apart(model: EditableModel, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("one two three four\nfive six seven eight\n\nshort\n\n \nA b c d e f g h.\n")
    assert general_texts(model, path=path) == ["one two three four five six seven eight", "A b c d e f g h."]


def test_a_file_without_text_is_refused(model: EditableModel, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("a few words\n\nhere")
    with pytest.raises(BadConfig, match=r"empty\.txt: there is no paragraph of 8 words"):
        general_texts(model, path=tmp_path / "empty.txt")
    with pytest.raises(BadConfig, match=r"none\.txt: cannot be read"):
        general_texts(model, path=tmp_path / "none.txt")


def test_continuations_are_seeded_row_by_row(model: EditableModel) -> None:
    prompts = ["The capital", "Who wrote the book about Rome?", "Berlin"]
    found = continuations(model, prompts, tokens=8, seed=1)
    assert found == continuations(model, prompts, tokens=8, seed=1)
    assert found[0] == continuations(model, prompts[:1], tokens=8, seed=1)[0], "whatever shares the batch"
    many = continuations(model, prompts[:1] * 17, tokens=8, seed=1)
    assert len(set(many)) > 10, "rows of the next batch have chances of their own"
    assert many[16] != many[0]
    state = torch.get_rng_state()
    assert found != continuations(model, prompts, tokens=8, seed=2)
    assert torch.equal(state, torch.get_rng_state())


def test_of_one_candidate_the_likeliest_is_drawn_and_the_end_never(model: EditableModel) -> None:
    prompt = "The capital"
    (text,) = continuations(model, [prompt], tokens=3, top_k=1)
    ids = model.tokenizer(prompt)["input_ids"]
    wanted = []
    for _ in range(3):
        with torch.no_grad():
            logits = model.model(torch.tensor([ids + wanted])).logits[0, -1]
        logits[model.tokenizer.eos_token_id] = -torch.inf
        wanted.append(int(logits.argmax()))
    assert text == str(model.tokenizer.decode(wanted, skip_special_tokens=True)).strip()


def test_a_model_that_ends_its_answers_goes_on() -> None:
    lab, prompt = EditableModel.load("lab:gpt"), "The mother tongue of Danielle Darrieux is"
    (text,) = continuations(lab, [prompt], tokens=12, top_k=1)
    assert len(text) > len(lab.generate([prompt])[0]) + 10


def test_a_continuation_ends_where_the_context_does(model: EditableModel) -> None:
    assert model.context is not None
    prompt = "a " * (model.context // 2 - 4)
    (text,) = continuations(model, [prompt], tokens=500)
    assert 0 < len(model.tokenizer(text)["input_ids"]) < model.context


def test_continued_sets_the_model_beside_itself_unedited(patched: EditableModel) -> None:
    question = Question("reliability", "The capital of France is", "Paris", "e1")
    (found,) = Reference(patched, ()).continued([question], tokens=12)
    assert (found.edit, found.prompt) == ("e1", question.prompt)
    assert found.said == continuations(patched, [question.prompt], tokens=12)[0]
    assert found.before == continuations(tiny_model("gpt2"), [question.prompt], tokens=12)[0]
