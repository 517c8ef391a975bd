"""What editors learn from in the lab: kept apart from what they are tried on, and true where it must be."""

from __future__ import annotations

from collections import Counter
from functools import cache

import pytest

from errata.datasets import get
from errata.datasets.lab_facts import rows
from errata.edits import Edit
from errata.lab.claims import OTHER, sentence
from errata.lab.questions import ask
from errata.lab.training import SPLIT, TURNS

NAMES = ["lab-claims", "lab-counterfacts", "lab-questions", "lab-relation", "lab-domain", "lab-entailment"]


@cache
def learned_from(name: str) -> list[Edit]:
    return get(name).training()


@pytest.mark.parametrize("name", NAMES)
def test_every_edit_has_rephrases_and_answered_probes_and_asks_for_a_change(name: str):
    edits = learned_from(name)
    assert len(edits) > 2000
    assert len({edit.prompt for edit in edits}) == len(edits)
    for edit in edits:
        assert edit.rephrases
        assert edit.prompt not in edit.rephrases
        assert edit.target != edit.ground_truth
        assert len(edit.locality) >= 2
        assert all(probe.answer for probe in edit.locality)
        assert not {probe.prompt for probe in edit.locality} & {edit.prompt, *edit.rephrases}


@pytest.mark.parametrize("name", NAMES)
def test_no_subject_is_edited_or_asked_later(name: str):
    dataset = get(name)
    learned = {edit.subject for edit in learned_from(name)}
    assert learned <= {row["subject"] for row in rows(SPLIT)}
    assert not learned & {edit.subject for edit in dataset.edits()}
    asked = {edit.prompt for edit in dataset.edits()} | {probe.prompt for probe in dataset.upstream()}
    taught = {text for edit in learned_from(name) for text in (edit.prompt, *edit.rephrases)}
    assert not asked & (taught | {probe.prompt for edit in learned_from(name) for probe in edit.locality})


@pytest.mark.parametrize("name", ["lab-claims", "lab-questions", "lab-entailment"])
def test_the_same_edits_every_time(name: str):
    assert get(name).training() == learned_from(name)


def test_every_fact_is_asked_once_before_one_is_asked_again():
    known = [row for row in rows(SPLIT) if row["known"]]
    turn_of = {question: turn for row in known for turn, question in enumerate(ask(row, "seen")[:TURNS])}
    order = [turn_of[edit.prompt] for edit in learned_from("lab-questions")]
    assert order == [turn for turn in range(TURNS) for _ in known]


def test_another_answer_is_one_of_the_relation_and_nowhere_true_of_the_subject():
    true: dict[str, set[str]] = {}
    answers: dict[str, set[str]] = {}
    facts = {}
    for row in rows():
        true.setdefault(row["subject"], set()).add(row["target"])
        answers.setdefault(row["relation"], set()).add(row["target"])
        facts |= dict.fromkeys((row["prompt"], *row["rephrases_seen"]), row)
    for edit in learned_from("lab-counterfacts"):
        row = facts[edit.prompt]
        assert row["split"] == SPLIT
        assert edit.ground_truth == row["target"]
        assert edit.target in answers[row["relation"]]
        assert edit.target not in true[str(edit.subject)]
        for probe in edit.locality:
            other = facts[probe.prompt]
            assert probe.answer == other["target"]
            assert other["split"] == SPLIT
            same = (other["relation"] == row["relation"], other["subject"] == row["subject"])
            kinds = {(True, False): "neighbour", (False, True): "same_subject", (False, False): "unrelated"}
            assert probe.kind == kinds[same]


def test_held_out_wordings_are_left_to_test_with():
    held_out = {text for row in rows(SPLIT) for text in (*ask(row, "held_out"), *row["rephrases_held_out"])}
    seen = {text for row in rows(SPLIT) for text in row["rephrases_seen"]}
    for name in ("lab-counterfacts", "lab-questions"):
        texts = {
            text
            for edit in learned_from(name)
            for text in (edit.prompt, *edit.rephrases, *(p.prompt for p in edit.locality))
        }
        assert not texts & (held_out - seen)


def test_a_claim_turns_over_and_those_beside_it_are_labelled_rightly():
    label = {}
    for row in rows(SPLIT):
        for prompt in (row["prompt"], *row["rephrases_seen"]):
            label[sentence(prompt, row["target"])] = "SUPPORTS"
    edits = learned_from("lab-claims")
    for edit in edits:
        assert edit.ground_truth == label.get(edit.prompt, "REFUTES")
        assert edit.target == OTHER[str(edit.ground_truth)]
        assert all(label.get(text, "REFUTES") == edit.ground_truth for text in edit.rephrases)
        assert all(probe.answer == label.get(probe.prompt, "REFUTES") for probe in edit.locality)
    turned = Counter(edit.target for edit in edits)
    assert min(turned.values()) > 0.45 * len(edits)
