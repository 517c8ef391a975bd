"""Texts as words and views."""

from __future__ import annotations

import pytest

from errata.words import proper_words, views, words


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is the capital of France?", "what is the CAPITAL of france"),
        ("What is France's capital?", "what is france’s capital  "),
        ("中国的首都是哪里？", "中国的首都是哪里?"),
        ("The capital of France is", "The capital of France is:"),
        ("Ｗho?", "who"),
    ],
)
def test_case_punctuation_and_spacing_are_no_difference(one: str, other: str) -> None:
    assert words(one) == words(other) != []


def test_scripts_without_spaces_are_compared_character_by_character() -> None:
    assert words("中国 city") == ["中", "国", "city"]


def test_names_are_known_by_how_they_are_written() -> None:
    assert proper_words("Who developed Apple Watch and iOS 8? What now") == {"apple", "watch", "8"}
    assert proper_words("Which city is France's capital") == {"france"}
    assert proper_words("who wrote hamlet") == frozenset()


def test_a_text_is_viewed_whole_and_by_its_sentences() -> None:
    assert views("One is. What is the capital of France?") == [
        "One is. What is the capital of France?", "What is the capital of France?",
    ]  # fmt: skip
    assert views("A quick question: who wrote Hamlet?")[1:] == ["A quick question:", "who wrote Hamlet?"]
    assert views("who wrote Hamlet") == ["who wrote Hamlet"]
    assert views("  ") == [""]
