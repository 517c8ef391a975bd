"""Learning a scorer from lessons: on questions about made-up subjects it tells wordings from other questions."""

from __future__ import annotations

import random

import pytest

from errata.scope import learning
from errata.scope.encoders import encoder_for
from errata.scope.learning import RATES, learn
from errata.scope.lessons import Lesson, politely, split, swapped
from errata.scope.vocabulary import Vocabulary
from tiny import tiny_model

ASKED = {
    "capital": ("What is the capital of {}?", "Which city is the capital of {}?", "Name the capital city of {}."),
    "author": ("Who wrote {}?", "Who is the author of {}?", "By whom was {} written?"),
    "language": ("What language is spoken in {}?", "Which language do people speak in {}?", "In {} they speak what?"),
}


def made_lessons(count: int) -> list[Lesson]:
    rng, lessons = random.Random(0), []
    for number in range(count):
        subject = "".join(rng.choice("bdfgklmnprst") + rng.choice("aeiou") for _ in range(3)).capitalize()
        relation = list(ASKED)[number % 3]
        others = tuple(ASKED[name][0].replace("{}", subject) for name in ASKED if name != relation)
        lessons.append(Lesson(subject, tuple(one.replace("{}", subject) for one in ASKED[relation]), others, relation))
    return lessons


def test_the_border_keeps_the_rates_and_finds_wordings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "STEPS", 60)
    model, steps = tiny_model("llama"), []
    prose = ["It was a fine day.", "The king of the land slept."]
    found = learn(made_lessons(120), prose, encoder_for("words", model), Vocabulary.of(model), steps.append, 0)
    assert sum(steps) == 2 * 60
    assert all(rate <= RATES["chat"][kind] + 0.05 for kind, rate in found.rates.items())
    assert found.found > 0.3
    again = learn(made_lessons(120), prose, encoder_for("words", model), Vocabulary.of(model), steps.append, 0)
    assert again.scorer.bias == found.scorer.bias


def test_no_subject_is_on_both_sides_of_a_split() -> None:
    one, other = split(made_lessons(60), 0.5, seed=3)
    assert one
    assert other
    assert not {lesson.subject for lesson in one} & {lesson.subject for lesson in other}


def test_a_swap_changes_whom_it_is_about_and_an_opening_nothing() -> None:
    rng = random.Random(0)
    first, second = made_lessons(2)
    changed = swapped(first, second, rng)
    assert changed is not None
    assert second.subject in changed
    assert first.subject not in changed
    assert all(first.subject in politely(first.wordings[0], rng) for _ in range(20))
