"""Texts as words and views."""

from __future__ import annotations

import pytest

from errata.words import views, words


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


def test_a_text_is_viewed_whole_and_by_its_sentences() -> None:
    assert views("One is. What is the capital of France?") == [
        "One is. What is the capital of France?", "What is the capital of France?",
    ]  # fmt: skip
    assert views("A quick question: who wrote Hamlet?")[1:] == ["A quick question:", "who wrote Hamlet?"]
    assert views("who wrote Hamlet") == ["who wrote Hamlet"]
    assert views("  ") == [""]
