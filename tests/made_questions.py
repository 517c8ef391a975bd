"""Questions as edits have them: the lab's wordings about subjects of CounterFact, mixed to reach any number."""

from __future__ import annotations

import random
from functools import cache

from errata.datasets import get
from errata.lab.questions import Part, templates

RELATIONS = ("P19", "P27", "P30", "P37", "P103", "P106", "P108", "P136", "P159", "P178")


@cache
def _names() -> list[str]:
    subjects = (row["requested_rewrite"]["subject"] for row in get("counterfact").rows())
    return sorted({word for subject in subjects for word in subject.split() if word[0].isupper() and word.isalpha()})


def made_subjects(count: int, seed: int = 0) -> list[str]:
    """Return distinct subjects of two or three names."""
    rng, found = random.Random(seed), dict[str, None]()
    while len(found) < count:
        found[" ".join(rng.sample(_names(), rng.choice((2, 2, 3))))] = None
    return list(found)


def made_questions(count: int, *, part: Part = "seen", seed: int = 0) -> list[str]:
    """Return questions about distinct subjects; those of part "held_out" ask the same in other words."""
    wordings = [templates(relation, part)[0] for relation in RELATIONS]
    subjects = made_subjects(count, seed)
    return [wordings[place % len(wordings)].replace("{}", subject) for place, subject in enumerate(subjects)]
