"""Free and teacher-forced grades of the same answers, side by side.

The empty name is free generation; "forced" asks that each token be the first choice after the right ones before it, and
"tokens" is the mean share of such tokens: what most papers call accuracy, and never below "forced".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from errata.evaluate.evidence import Answer, Forced, sorts
from errata.evaluate.figures import Figure, share
from errata.evaluate.grading import exact
from errata.evaluate.grading import f1 as overlap
from errata.evaluate.metrics._base import Figures


def graded(answers: Sequence[Answer]) -> Figures:
    """Figures of answers that have a right one: "" by free generation, "forced" and "tokens" by teacher forcing."""
    return {
        "": right(answers),
        "forced": share((unit, forced.hits == forced.tokens) for unit, forced in _scored(answers)),
        "tokens": first_choices(_scored(answers)),
    }


def graded_by_sort(answers: Sequence[Answer]) -> Figures:
    """`graded`, and the free figure of each sort of question under the sort's name."""
    return {**{about: right(part) for about, part in sorts(answers).items()}, **graded(answers)}


def right(answers: Iterable[Answer]) -> Figure | None:
    """Share of free answers that are the expected text."""
    return share((answer.unit, exact(answer.said, answer.expected)) for answer in answers)


def right_before(answers: Iterable[Answer]) -> Figure | None:
    """The same of what the unedited model said."""
    return share((answer.unit, exact(answer.before, answer.expected)) for answer in answers)


def words(answers: Iterable[Answer]) -> Figure | None:
    """Mean F1 between the words of the free answer and of the expected text."""
    return share((answer.unit, overlap(answer.said, answer.expected)) for answer in answers)


def first_choices(scored: Iterable[tuple[str, Forced]]) -> Figure | None:
    """Mean share of forced tokens that are the model's first choice."""
    return share((unit, forced.hits / forced.tokens) for unit, forced in scored)


def _scored(answers: Iterable[Answer]) -> list[tuple[str, Forced]]:
    return [(answer.unit, answer.forced) for answer in answers if answer.forced is not None]
