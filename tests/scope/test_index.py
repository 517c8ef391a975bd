"""Which questions a text asks for: exact words, near ones, order, growth and removal."""

from __future__ import annotations

import pytest
import torch

from errata.errors import BadConfig, BadPatch
from errata.scope import Index, Scorer
from errata.scope.encoders import encoder_for
from errata.scope.scorer import features
from errata.scope.vocabulary import Bag, Vocabulary
from scoring import by_words
from tiny import tiny_model

QUESTIONS = ["What is the capital of France?", "Who wrote the book?", "Is Berlin a city?"]


def index(questions: list[str]) -> Index:
    model = tiny_model("llama")
    return Index(by_words(model), encoder_for("words", model), Vocabulary.of(model), questions)


def test_the_same_words_are_in_scope_whatever_their_form() -> None:
    made = index(QUESTIONS)
    for place, question in enumerate(QUESTIONS):
        for asked in (question, question.lower(), question.rstrip("?"), f"Hello there. {question}"):
            best = made.search(asked)[0]
            assert (best.key, best.inside) == (place, True)


def test_what_shares_no_rare_word_is_not() -> None:
    assert not index(QUESTIONS).search("Vienna and Rome")[0].inside
    assert index([]).search("anything at all") == []


def test_the_later_of_two_questions_of_the_same_words_stands() -> None:
    assert index(["who wrote the book", *QUESTIONS]).search("Who wrote the book?")[0].key == 2


def test_growing_gives_what_making_it_at_once_gives() -> None:
    grown = index(QUESTIONS[:1]).extended(QUESTIONS[1:2]).extended(QUESTIONS[2:])
    for asked in (*QUESTIONS, "Is France a city?"):
        told = [(hit.key, pytest.approx(hit.score, abs=1e-5)) for hit in index(QUESTIONS).search(asked)]
        assert [(hit.key, hit.score) for hit in grown.search(asked)] == told


def test_features_of_bags_follow_their_definition() -> None:
    key = Bag({"capital": 2.0, "france": 3.0, "of": 0.0}, frozenset({"france"}))
    query = Bag({"capital": 2.0, "japan": 4.0}, frozenset({"japan"}))
    found = features(torch.tensor([0.8]), [(key, query)])[0]
    wanted = [0.8, 0.3, 0.05, 2 / 5, 2 / 6, -3 / 8, -4 / 8, -1.0, -1.0]
    assert torch.allclose(found, torch.tensor(wanted), atol=1e-5)


def test_a_scorer_survives_its_tensors_and_refuses_others() -> None:
    scorer = by_words(tiny_model("llama"))
    again = Scorer.of("words", scorer.tensors())
    for name, tensor in scorer.tensors().items():
        assert torch.equal(tensor, again.tensors()[name])
    with pytest.raises(BadPatch, match="lacks its tensor"):
        Scorer.of("words", {})
    with pytest.raises(BadPatch, match="do not fit"):
        Scorer.of("words", {**scorer.tensors(), "weights": torch.zeros(2)})


def test_an_encoder_that_is_not_there_says_what_to_do() -> None:
    with pytest.raises(BadConfig, match="no encoder 'nowhere'"):
        encoder_for("nowhere", tiny_model("llama"))


def test_a_name_is_rarer_than_its_pieces_and_known_in_lower_case() -> None:
    vocabulary = Vocabulary.of(tiny_model("llama"))
    assert vocabulary.rarity("zqxjk") > vocabulary.rarity("the")
    assert vocabulary.bag("France france").rarities.keys() == {"france"}
