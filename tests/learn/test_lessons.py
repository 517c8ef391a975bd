"""What an editor learns from: who is kept for validation, what a batch holds, and which edits are of use."""

from __future__ import annotations

import dataclasses

import pytest

from errata.edits import Edit, Probe
from errata.errors import BadConfig
from errata.learn.lessons import LEAST, lessons
from learn.lesson_edits import edits


def test_no_subject_is_on_both_sides():
    found = lessons(edits(60, subjects=30), seed=0)
    sides = [{lesson.about for lesson in side} for side in (found.training, found.validation)]
    assert not sides[0] & sides[1]
    assert (len(sides[1]), len(found.validation), len(found.training)) == (3, 6, 54)


def test_the_seed_draws_the_division_and_nothing_else_does():
    drawn = [lessons(edits(40), seed=seed) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1]
    assert drawn[0].digest == drawn[1].digest
    assert drawn[0].validation != drawn[2].validation
    assert drawn[0].digest != drawn[2].digest


def test_given_validation_is_used_whole():
    found = lessons(edits(20), seed=0, validation=edits(5))
    assert (len(found.training), len(found.validation)) == (20, 5)


def test_every_pass_takes_each_lesson_once_in_another_order():
    found = lessons(edits(30), seed=0, validation=edits(1))
    passes = [[one.edit.prompt for number in range(3) for one in found.batch(3 * turn + number, 10)] for turn in (0, 1)]
    assert sorted(passes[0]) == sorted(passes[1]) == sorted(edit.prompt for edit in edits(30))
    assert passes[0] != passes[1]
    assert found.batch(4, 10) == found.batch(4, 10)


def test_a_batch_is_about_every_subject_once():
    found = lessons(edits(30, subjects=3), seed=0, validation=edits(1))
    assert len(found.batch(0, 10)) == len({lesson.about for lesson in found.batch(0, 10)}) <= 3


def test_a_lesson_is_judged_by_its_rephrasings():
    first = lessons([*edits(20), Edit("a", "b")], seed=0, validation=edits(1)).training[0]
    assert first.outer == (("Say where it is 0", "Rome"), ("Place of 0?", "Rome"))
    assert first.locality == (Probe("Who are you 0?", "me"),)


@pytest.mark.parametrize(("field", "told"), [("rephrases", "rephrases"), ("locality", "locality probes")])
def test_too_few_of_something_says_of_what_and_how_many_are_needed(field: str, told: str):
    bare = [dataclasses.replace(edit, **{field: ()}) for edit in edits(40)]
    with pytest.raises(BadConfig, match=rf"^3 of 43 edits for training have {told}, and at least {LEAST + 2} are"):
        lessons([*bare, *(dataclasses.replace(edit, prompt=f"more {edit.prompt}") for edit in edits(3))], seed=0)


def test_one_subject_cannot_be_divided():
    with pytest.raises(BadConfig, match="all the edits are about one subject"):
        lessons(edits(20, subjects=1), seed=0)
