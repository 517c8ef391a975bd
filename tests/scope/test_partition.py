"""Candidates that faiss finds, beside those of comparing a text with every question."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from errata.models import EditableModel
from errata.scope import Index, Scorer
from errata.scope.encoders import Encoder, encoder_for
from errata.scope.partition import Partition, available, made_up_questions
from errata.scope.scorer import Metric
from errata.scope.vocabulary import Vocabulary
from errata.words import views
from made_questions import made_questions
from scoring import by_words

pytestmark = pytest.mark.skipif(not available(), reason="needs faiss: pip install errata[faiss]")
MANY = 3000
CLOSE = 0.7  # cosine below which a question is hardly in scope
QUESTIONS = made_questions(MANY)
ASKED = [*made_questions(MANY, part="held_out")[::15], *made_questions(100, seed=1)]


@cache
def parts() -> tuple[Scorer, Encoder, Vocabulary]:
    """A scorer whose projection whitens vectors, as a learned one does."""
    model = EditableModel.load("lab:gpt")
    scorer, encoder = by_words(model), encoder_for("words", model)
    vectors = encoder.encode(QUESTIONS[::4])
    values, axes = torch.linalg.eigh(torch.cov(normalize(vectors - vectors.mean(0), dim=1).T))
    projection = axes * (values.clamp_min(1e-6) + 0.02 * values.max()).rsqrt()
    return replace(scorer, metric=Metric(vectors.mean(0), projection)), encoder, Vocabulary.of(model)


@cache
def index(approximate_from: int | None) -> Index:
    return Index(*parts(), QUESTIONS, approximate_from=approximate_from)


def test_candidates_are_those_of_comparing_all() -> None:
    nearest, close = [], []
    for text in ASKED:
        asked = views(text)[:1]
        queries = index(None)._place(asked)
        every = index(None)._candidates(asked, queries)[0]
        cosines = index(None)._storage.cosines(every, queries[0])
        found = np.isin(every, index(1000)._candidates(asked, queries)[0])
        nearest.append(found[cosines.argmax()])
        close += found[cosines > CLOSE].tolist()
    assert np.mean(nearest) >= 0.9
    assert np.mean(close) >= 0.98


def test_decisions_are_those_of_comparing_all() -> None:
    best = [(index(1000).search(text)[0], index(None).search(text)[0]) for text in ASKED]
    assert sum(other.inside for _, other in best) > 20
    assert all(one == other for one, other in best if one.inside or other.inside)
    assert all(one.score == other.score for one, other in best if one.key == other.key)


def test_questions_of_the_same_words_are_always_found() -> None:
    for place in range(0, MANY, 50):
        assert index(1000).search(QUESTIONS[place].lower())[0].key == place
    often = index(1000).extended([QUESTIONS[0]] * 300)
    assert often.search(QUESTIONS[0].replace("?", ", please?"))[0].key == MANY + 299


def test_removed_questions_leave_no_trace_in_the_parts() -> None:
    gone = list(range(0, MANY, 3))
    kept = [one for place, one in enumerate(QUESTIONS) if place % 3]
    removed = index(1000).without(gone).extended(QUESTIONS[:5])
    never = index(1000)._of(index(1000)._storage.copied(np.empty(0, np.int64)), 0, np.empty(0, np.int64))
    never = never.extended([*kept, *QUESTIONS[:5]])
    assert never._storage is not removed._storage
    assert [removed.search(text) for text in ASKED] == [never.search(text) for text in ASKED]
    few = index(1000).without(range(900, MANY))
    assert few.search(QUESTIONS[5])[0].key == 5


def test_a_partition_depends_on_the_scorer_alone() -> None:
    scorer, encoder, vocabulary = parts()
    used = index(1000)._storage.partition
    assert used is not None
    one, other = used.emptied(), Partition.for_scorer(scorer, encoder, vocabulary)
    vectors = scorer.place(encoder.encode(QUESTIONS[:300]))
    one.extend(vectors.numpy())
    for end in range(100, 301, 100):
        other.extend(vectors.numpy()[:end])
    every = one.selector(300, np.empty(0, np.int64))
    for left, right in zip(one.search(vectors[:40], every, 300), other.search(vectors[:40], every, 300), strict=True):
        assert sorted(left) == sorted(right)
    assert made_up_questions(vocabulary, 3) == made_up_questions(vocabulary, 3)
