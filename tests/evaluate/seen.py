"""Answers as a model might have given them: shorthands for tests of metrics."""

from __future__ import annotations

from typing import Any

from errata.evaluate.evidence import Answer, Evidence, Forced
from errata.evaluate.figures import Figure
from errata.evaluate.metrics._base import measure
from errata.evaluate.questions import Question


def answer(
    kind: str, said: str, expected: str | None = "Paris", before: str = "Rome", edit: str | None = "e1",
    about: str = "", prompt: str = "The capital is", **scores: Forced,
) -> Answer:  # fmt: skip
    """What was said to one question; without an `expected` answer, what was said before is expected."""
    question = Question(kind, prompt, expected, edit, about)
    return Answer(question, before if expected is None else expected, said, before, **scores)


def forced(mean: float, tokens: int = 2, hits: int = 0) -> Forced:
    """Scores with a mean negative log-likelihood a token."""
    return Forced(mean * tokens, tokens, hits)


def figures(name: str, *answers: Answer, **more: Any) -> dict[str, Figure]:
    """The figures of one metric, by part."""
    found = measure(Evidence(edits=9, answers=answers, **more), [name])
    return {full.removeprefix(name).removeprefix("."): figure for full, figure in found.items()}


def values(name: str, *answers: Answer, **more: Any) -> dict[str, float]:
    return {part: figure.value for part, figure in figures(name, *answers, **more).items()}
