"""Importance of senses by hand on a toy contextualisation, and the background that is taken once."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from errata.edits import Edit, Goal
from errata.errors import BadConfig, BadModel
from errata.models import Batch, EditableModel
from errata.models.backpack.words import backpack_of
from errata.solve import importance
from errata.solve.goals import Aims
from errata.solve.importance import CHUNK, Scores, background, scores, union
from errata.solve.readings import Reading, read
from errata.statistics import Corpus, kept
from tiny import tiny_model

TEXTS = Corpus(("Rome is the capital of Italy.", "Who wrote the book?", "Madrid, London and Vienna"), "d", "three")


@pytest.fixture(autouse=True)
def cached_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("ERRATA_CACHE", str(tmp_path))
    kept.forget()
    yield tmp_path
    kept.forget()


@pytest.fixture
def model() -> EditableModel:
    return tiny_model("backpack")


def toy(ids: list[int], weights: list[list[list[float]]], columns: list[int]) -> Reading:
    """One row whose predictions stand at `columns`; weights (N, k, T)."""
    row, size = torch.tensor([ids]), len(columns)
    batch = Batch(row, torch.ones_like(row), torch.tensor([columns[0]]), [[]])
    return Reading(
        batch, torch.zeros(size).long(), torch.tensor(columns), torch.zeros(size).long(), torch.zeros(size, 4),
        torch.tensor(weights),
    )  # fmt: skip


# Tokens 20 and 30 are the prompt; 40 the first token of the target, and of a rival that goes on otherwise 50.
SHARED = [[0.75, 0.25, 0.0], [0.5, 0.5, 0.0]]
TARGET = toy([20, 30, 40], [SHARED, [[0.5, 0.25, 0.25], [0.0, 0.5, 0.5]]], [1, 2])
RIVAL = toy([20, 30, 50], [SHARED, [[0.25, 0.25, 0.5], [0.5, 0.0, 0.5]]], [1, 2])
AROUND = torch.zeros(330, 2)
AROUND[20] = torch.tensor([0.001, 0.0005])


def scored(model: EditableModel, goal: Goal | None, rival: Reading | None = None, weight: float = 1000.0) -> Scores:
    edit = Edit("Rome", "is", id="a", goal=goal, rival=None if rival is None else "was")
    part = Aims((edit,), TARGET.batch, None, torch.tensor([0] if rival else [], dtype=torch.long))
    return scores(model, part, TARGET, rival, AROUND, weight)[0]


def of(found: Scores, field: Tensor) -> dict[int, list[float]]:
    return dict(zip(found.ids.tolist(), field.tolist(), strict=True))


@pytest.mark.parametrize("goal", [None, "raise", "lower"])
def test_of_one_continuation(model: EditableModel, goal: Goal | None) -> None:
    found = scored(model, goal)
    assert of(found, found.mass) == {20: [1.25, 0.5], 30: [0.5, 1.0], 40: [0.25, 0.5]}
    assert of(found, found.importance) == {20: [0.25, 0.0], 30: [0.5, 1.0], 40: [0.25, 0.5]}


def test_balance_adds_the_rival(model: EditableModel) -> None:
    found = scored(model, "balance", RIVAL)
    assert of(found, found.mass) == {20: [2.25, 1.5], 30: [1.0, 1.5], 40: [0.25, 0.5], 50: [0.5, 0.5]}


def test_contrast_subtracts_it_where_the_texts_differ(model: EditableModel) -> None:
    found = scored(model, "contrast", RIVAL)
    # The prediction after 20 30 is one and the same; only the one after 20 30 50 is the rival's own.
    assert of(found, found.mass) == {20: [1.0, 0.0], 30: [0.25, 1.0], 40: [0.25, 0.5], 50: [-0.5, -0.5]}
    assert found.best(10).tolist() == [[30, 1], [40, 1], [30, 0], [40, 0], [20, 0]]


def test_the_best_are_the_most_important_with_mass() -> None:
    found = Scores(
        torch.tensor([4, 9]), torch.tensor([[0.5, 0.0], [0.25, -1.0]]), torch.tensor([[-3.0, 7.0], [-1.0, 8.0]])
    )
    assert found.best(1).tolist() == [[9, 0]]
    assert found.best(5).tolist() == [[9, 0], [4, 0]]
    equal = dataclasses.replace(found, mass=torch.ones(2, 2), importance=torch.ones(2, 2))
    assert equal.best(3).tolist() == [[4, 0], [4, 1], [9, 0]]


def test_tokens_around_texts_have_none() -> None:
    model = tiny_model("backpack", bos=True)
    part = Aims.of(model, [Edit("Rome is", "Paris", id="a", goal="raise")])
    reading = read(model, part.batch)
    found = scores(model, part, reading, None, torch.zeros(330, 16), 0.0)[0]
    start, (ids, mass) = model.tokenizer.bos_token_id, reading.mass(0)
    assert part.batch.input_ids[0, 0] == start
    assert (mass[ids == start] > 0).any()
    assert (found.mass[ids == start] == 0).all()
    assert torch.equal(found.mass[ids != start], mass[ids != start])
    assert start not in found.best(1000)[:, 0].tolist()


def test_pairs_of_several_edits() -> None:
    assert union([torch.tensor([[9, 1], [4, 2]]), torch.tensor([[4, 2], [4, 0]])]).tolist() == [[4, 0], [4, 2], [9, 1]]


def test_the_background_is_the_mean_of_all_predictions(model: EditableModel) -> None:
    found = background(model, TEXTS, 1000)
    expected, count = torch.zeros(model.model.config.vocab_size, 16, dtype=torch.float64), 0
    for text in TEXTS.texts:
        ids = torch.tensor([model.tokenizer(text)["input_ids"]])
        with torch.no_grad():
            weights = backpack_of(model)(ids).contextualization[0, :, :-1]  # the last token predicts nothing
        for place, word in enumerate(ids[0].tolist()):
            expected[word] += weights[:, :, place].sum(1)
        count += ids.shape[1] - 1
    torch.testing.assert_close(found, (expected * CHUNK / count).float(), atol=1e-3, rtol=1e-3)
    assert found.sum(0).tolist() == pytest.approx([CHUNK] * 16, rel=1e-4)


def test_the_background_is_taken_once(model: EditableModel, monkeypatch: pytest.MonkeyPatch, cached_at: Path) -> None:
    first = background(model, TEXTS, 1000)
    calls: list[object] = []

    def counted(model: EditableModel, batch: Batch) -> Reading:
        calls.append(batch)
        return read(model, batch)

    monkeypatch.setattr(importance, "read", counted)
    assert background(model, TEXTS, 1000) is first
    kept.forget()
    assert torch.equal(background(tiny_model("backpack"), TEXTS, 1000), first)
    assert calls == []
    background(model, TEXTS, 10)
    assert len(calls) == 1
    background(model, dataclasses.replace(TEXTS, digest="e"), 1000)
    assert len(calls) == 2
    with torch.no_grad():
        model.model.get_input_embeddings().weight.mul_(1.01)
    background(model, TEXTS, 1000)
    assert len(calls) == 3


def test_what_has_no_background(model: EditableModel) -> None:
    with pytest.raises(BadConfig, match="0 tokens"):
        background(model, TEXTS, 0)
    with pytest.raises(BadModel, match="no senses"):
        background(tiny_model("gpt2"), TEXTS, 10)
