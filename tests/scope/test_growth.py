"""Adding and removing questions leave no trace, and indexes of one history do not disturb each other."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from errata.scope import Hit, Index
from errata.scope.bags import Bags
from errata.scope.encoders import encoder_for
from errata.scope.growing import Growing
from errata.scope.scorer import features
from errata.scope.vocabulary import Vocabulary
from made_questions import made_questions
from scoring import by_words
from tiny import tiny_model

QUESTIONS = made_questions(120)
ASKED = [question.replace("?", ", please?").replace("What", "Which") for question in QUESTIONS[::6]]


def index(questions: list[str]) -> Index:
    model = tiny_model("llama")
    return Index(by_words(model), encoder_for("words", model), Vocabulary.of(model), questions)


def answers(made: Index) -> list[list[Hit]]:
    return [made.search(text) for text in (*ASKED, *QUESTIONS[1::6])]


def test_one_by_one_gives_the_very_numbers_of_all_at_once() -> None:
    grown = index([])
    for question in QUESTIONS:
        grown = grown.extended([question])
    assert answers(grown) == answers(index(QUESTIONS))
    assert grown.questions == tuple(QUESTIONS)


def test_what_was_removed_leaves_no_trace() -> None:
    rng, made, kept = random.Random(0), index(QUESTIONS[:60]), QUESTIONS[:60]
    for more in range(60, 120, 6):
        gone = set(rng.sample(range(len(kept)), 20))
        made = made.without(gone).extended(QUESTIONS[more : more + 6])
        kept = [one for place, one in enumerate(kept) if place not in gone] + QUESTIONS[more : more + 6]
        made, kept = made.extended(QUESTIONS[:14]), kept + QUESTIONS[:14]
        assert made.questions == tuple(kept)
        assert answers(made) == answers(index(kept))


def test_many_questions_of_the_same_words_lead_to_the_latest() -> None:
    often = QUESTIONS[0].upper()
    made = index([*QUESTIONS, *[often] * 50])
    assert made.search(QUESTIONS[0])[0].key == len(QUESTIONS) + 49
    assert made.search(ASKED[0])[0].key == len(QUESTIONS) + 49
    assert made.without(range(120, 170)).search(QUESTIONS[0])[0].key == 0
    assert len(made.search(QUESTIONS[0], limit=8)) == 8


def test_versions_share_their_questions_and_stay_as_they_were() -> None:
    first = index(QUESTIONS[:40])
    before = answers(first)
    left, right = first.extended(QUESTIONS[40:80]), first.extended(QUESTIONS[80:])
    assert left._storage is first._storage
    less = left.without([0, 39])
    again = less.extended(QUESTIONS[:1])
    assert answers(first) == before
    assert answers(left) == answers(index(QUESTIONS[:80]))
    assert answers(right) == answers(index(QUESTIONS[:40] + QUESTIONS[80:]))
    assert answers(again) == answers(index(QUESTIONS[1:39] + QUESTIONS[40:80] + QUESTIONS[:1]))


def test_removing_nothing_and_everything() -> None:
    made = index(QUESTIONS[:3])
    assert made.without([]) is made
    assert made.extended([]) is made
    empty = made.without(range(3))
    assert (len(empty), empty.questions, empty.search(QUESTIONS[0])) == (0, (), [])
    assert empty.extended(QUESTIONS[:1]).search(QUESTIONS[0])[0].key == 0
    with pytest.raises(IndexError, match="keys must be from 0 to 2, got 1 and 3"):
        made.without([1, 3])


def test_flat_bags_have_the_features_of_pairs() -> None:
    vocabulary = Vocabulary.of(tiny_model("llama"))
    texts = [*QUESTIONS, "", "?!", "the", "Paris Paris"]
    bags, flat = [vocabulary.bag(text) for text in texts], Bags()
    flat.append(bags)
    for text in (*QUESTIONS[:5], "", "Paris"):
        query = vocabulary.bag(text)
        wanted = features(torch.zeros(len(bags)), [(bag, query) for bag in bags])[:, 3:]
        rows = np.arange(len(bags))
        found = flat.features(rows, query)
        assert np.allclose(found, wanted.numpy(), atol=1e-5)
        assert np.array_equal(found[7:8], flat.features(rows[7:8], query))
        assert np.array_equal(found[[9, 3]], flat.copied(np.array([9, 3])).features(np.arange(2), query))


def test_a_growing_array_keeps_what_readers_hold() -> None:
    grown = Growing((2,), np.float32)
    grown.append(np.ones((3, 2)))
    held = grown.rows
    grown.append(np.zeros((1000, 2)))
    assert held.shape == (3, 2)
    assert held.all()
    assert grown.rows.sum() == 6
