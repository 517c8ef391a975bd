"""Questions to learn scope from: each with whom it is about and what it asks, in several wordings.

Knows texts only; where they come from is the caller's concern.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

POLITE = (
    "Could you tell me {}", "Can you tell me {}", "Please tell me {}", "I'd like to know {}", "Do you know {}",
    "Hi! {}", "Hello, {}", "{} Thanks!", "Quick question. {}", "I was wondering, {}", "{} Please answer briefly.",
)  # fmt: skip
"""Openings and closings that change nothing of what is asked."""


@dataclass(frozen=True)
class Lesson:
    """A question about a subject.

    Attributes:
        subject: whom it is about.
        wordings: ways to ask it, the plainest first.
        others: questions about the same subject that ask for something else.
        relation: what it asks for; questions of one relation about two subjects are neighbours.
        questions: the same in another form, where `wordings` are beginnings of sentences; only the metric is learned
            from them.
    """

    subject: str
    wordings: tuple[str, ...]
    others: tuple[str, ...]
    relation: str
    questions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Relation:
    """What may be asked about a subject.

    Attributes:
        name: unique.
        wordings: ways to ask it, with {} for the subject.
        alike: names of relations that ask for nearly the same: one is no other question than the other.
    """

    name: str
    wordings: tuple[str, ...]
    alike: frozenset[str]


def politely(question: str, rng: random.Random) -> str:
    """Return the question inside an opening or a closing, as people write it."""
    frame = rng.choice(POLITE)
    begins = frame.startswith("{}") or frame.rstrip("{} ")[-1:] in "!,."
    asked = question if begins else question[:1].lower() + question[1:]
    return frame.replace("{}", asked)


def swapped(lesson: Lesson, other: Lesson, rng: random.Random) -> str | None:
    """Return the question in one of its wordings about another subject; None where that does not name its own."""
    wording = rng.choice(lesson.wordings)
    return wording.replace(lesson.subject, other.subject) if lesson.subject in wording else None


def split(lessons: Sequence[Lesson], share: float, seed: int) -> tuple[list[Lesson], list[Lesson]]:
    """Divide lessons by subject: none is in both parts, and about `share` of the subjects in the first."""
    subjects = sorted({lesson.subject for lesson in lessons})
    random.Random(seed).shuffle(subjects)
    first = set(subjects[: round(share * len(subjects))])
    return [one for one in lessons if one.subject in first], [one for one in lessons if one.subject not in first]
