"""Canonical examples of Errata's own: what the sets promise of their halves, parts and texts."""

from __future__ import annotations

from itertools import pairwise
from typing import cast, get_args

import pytest

from errata import datasets
from errata.datasets import Example
from errata.datasets._canonical import Canonical, Split
from errata.datasets._canonical_own import Contexts, Own, facts, half
from errata.datasets.lab_agreement import ASKED, TAUGHT
from errata.errors import BadEdit

NAMES = ("lab-capitals", "lab-companies", "lab-news", "lab-unsaid", "lab-pronouns", "lab-agreement")
SETS = [cast(Own, datasets.get(name)) for name in NAMES]
SPLITS: tuple[Split, ...] = get_args(Split)
TRUTH = {(row["subject"], row["relation"]): row["target"] for row in facts()}
each_set = pytest.mark.parametrize("task", SETS, ids=lambda task: task.name)


def subjects(task: Canonical, split: Split) -> set[str]:
    return {str(example.subject) for part in ("train", "eval") for example in task.examples(part, split)}


def test_goals_and_thresholds_are_those_of_the_published_sets():
    assert [(task.goal, round(task.threshold, 3)) for task in SETS] == [
        ("raise", 1.609), ("raise", 2.996), ("raise", 2.996), ("lower", 6.908), ("balance", 0.405), ("contrast", 2.773),
    ]  # fmt: skip


@each_set
def test_the_halves_share_no_subject(task: Own):
    assert not subjects(task, "val") & subjects(task, "test")


@each_set
def test_every_part_has_examples_and_the_count_is_of_all(task: Own):
    sizes = [len(task.examples(part, split)) for split in SPLITS for part in ("train", "eval", "hard_negatives")]
    assert all(20 <= size <= 60 for size in (sizes[0], sizes[3]))
    assert min(sizes) >= 20
    assert task.records == sum(sizes)


@each_set
def test_what_is_scored_is_worded_otherwise_and_follows_other_text(task: Own):
    for split in SPLITS:
        learned = [example.prompt for example in task.examples("train", split)]
        for example in (*task.examples("eval", split), *task.examples("hard_negatives", split)):
            assert len(example.prompt.split()) > 5
            assert not any(example.prompt.endswith(prompt) for prompt in learned)


@each_set
def test_a_set_is_the_same_each_time_it_is_made(task: Own):
    assert task.make("val") == task.make("val") != task.make("test")


@each_set
def test_examples_are_edits_with_the_goal_and_hard_negatives_are_their_probes(task: Own):
    edits = task.edits("val")
    assert len(edits) == len(task.examples("train", "val"))
    assert {edit.goal for edit in edits} == {task.goal}
    assert {edit.rival is not None for edit in edits} == {task.goal in ("balance", "contrast")}
    assert sum(len(edit.locality) for edit in edits) == len(task.examples("hard_negatives", "val"))
    assert all(edit.subject and edit.subject in edit.prompt for edit in edits)


@pytest.mark.parametrize("part", ["text", "training"])
def test_there_is_no_other_part(part: str):
    with pytest.raises(BadEdit, match=f"'lab-capitals' has train, eval and hard_negatives .* no {part} of val"):
        SETS[0].examples(part, "val")  # type: ignore[arg-type]


def test_a_capital_moves_to_a_city_that_is_none():
    capitals = {target for (_, relation), target in TRUTH.items() if relation == "capital"}
    for example in SETS[0].examples("train"):
        assert example.choices[0] not in capitals
    told = {str(example.subject): example.choices for example in SETS[0].examples("train")}
    assert all(told[str(example.subject)] == example.choices for example in SETS[0].examples("eval"))


def test_a_company_gets_another_answer_of_the_same_relation():
    for example in SETS[1].examples("train"):
        known = {(relation, target) for (subject, relation), target in TRUTH.items() if subject == example.subject}
        assert known.isdisjoint({("P159", example.choices[0]), ("P178", example.choices[0])})


def test_news_is_about_nobody_known():
    known = {subject for subject, _ in TRUTH}
    for split in SPLITS:
        assert not subjects(SETS[2], split) & known
        assert {example.subject for example in SETS[2].examples("hard_negatives", split)} <= known


def test_what_is_not_to_be_said_is_true_and_the_rest_about_the_same_people_stays():
    births = {(subject, target) for (subject, relation), target in TRUTH.items() if relation in ("P19", "birth-year")}
    for part in ("train", "eval"):
        for example in SETS[3].examples(part):
            assert (example.subject, example.choices[0]) in births
            assert example.gold is None
    learned = {example.subject for example in SETS[3].examples("train")}
    assert any(example.subject in learned for example in SETS[3].examples("hard_negatives"))


def test_pronouns_are_asked_of_other_occupations_than_taught():
    task = SETS[4]
    taught, asked = ({example.subject for example in task.examples(part)} for part in ("train", "eval"))
    assert not taught & asked
    for example in task.examples("eval"):
        assert example == Example(example.prompt, ("he", "she"), subject=example.subject, kind="eval")
        assert not {"he", "she", "his", "her"} & set(example.prompt.lower().replace(",", "").split())
    said = {word for example in task.examples("hard_negatives") for word in ("father", "mother", "brother", "sister")
            if f"My {word} is" in example.prompt}  # fmt: skip
    assert said == {"father", "mother", "brother", "sister"}


def test_verbs_agree_and_those_taught_are_not_asked():
    def verbs(part: str) -> set[frozenset[str]]:
        return {frozenset(example.choices) for example in SETS[5].examples(part)}  # type: ignore[arg-type]

    assert not verbs("train") & verbs("eval")
    singular = {pair.split("/")[0] for pair in (TAUGHT + " " + ASKED).split()}
    train = SETS[5].examples("train")
    for one, several in zip(train[::2], train[1::2], strict=True):
        assert one.choices[0] in singular
        assert several.choices[1] in singular
        assert (one.prompt, one.gold) == (f"The {one.subject}", 0)


def test_a_half_is_every_other_name_and_both_are_all():
    names = [f"name {number}" for number in range(11)]
    val, test = half(names, "val"), half(reversed(names), "test")
    assert (len(val), len(test)) == (6, 5)
    assert sorted(val + test) == sorted(names)
    assert val != sorted(val)


def test_contexts_keep_away_from_what_is_barred():
    contexts = Contexts("seed", beside=["capital"], without="he|she|her")
    told = {f"{row['prompt']} {row['target']}." for row in facts() if row["relation"] == "capital"}
    assert not told & set(contexts.told)
    assert not [text for text in (*contexts.prose, *contexts.told) if {"he", "she", "her"} & set(text.lower().split())]
    first = [contexts.before("The end") for _ in range(20)]
    assert all(text.endswith((". The end", "! The end", "? The end")) for text in first)
    assert any(one != other for one, other in pairwise(first))
    assert first[0] == Contexts("seed", beside=["capital"], without="he|she|her").before("The end")
