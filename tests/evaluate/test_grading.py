"""Grading: what counts as the same answer, and F1 over words."""

from __future__ import annotations

import pytest

from errata.evaluate.grading import exact, f1, normalised


def test_normalisation_is_squads() -> None:
    assert normalised("  The  Eiffel-Tower, an icon! ") == "eiffeltower icon"
    assert normalised("ﬁne\u00a0Ａ") == "fine", "NFKC, then the article"


@pytest.mark.parametrize(
    ("answer", "expected", "same"),
    [
        ("Paris", "paris.", True),
        ("the United States", "United States", True),
        ("Paris, France", "Paris", False),  # what goes on is not the answer
        ("", "Paris", False),
        ("The", "The", True),  # normalises to nothing: compared as written
        ("...", "?", False),
        ("Zürich", "Zurich", False),
    ],
)
def test_exact(answer: str, expected: str, same: bool) -> None:
    assert exact(answer, expected) is same


@pytest.mark.parametrize(
    ("answer", "expected", "score"),
    [
        ("New York City", "New York", 2 * 2 / (3 + 2)),
        ("York", "New York", 2 * 1 / (1 + 2)),
        ("no no no", "no", 2 * 1 / (3 + 1)),  # a repeated word counts once
        ("Rome", "Paris", 0),
        ("", "Paris", 0),
        ("the", "a", 1),  # both normalise to nothing
    ],
)
def test_f1(answer: str, expected: str, score: float) -> None:
    assert f1(answer, expected) == pytest.approx(score)
