"""Wordings: where facts come from, and what is borrowed from them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from errata.datasets import get
from errata.errors import BadConfig
from errata.statistics.phrasings import Fact, Phrasings, phrasings_for, places_of
from errata.statistics.wordings import borrowed, template

FACTS = Phrasings(
    (
        Fact("France", ("The capital of France is", "France's capital is", "The seat of power of France:")),
        Fact("Spain", ("The capital of Spain is", "Spain's capital is")),
        Fact(None, ("Water boils at", "The boiling point of water is")),
    ),
    0,
    "d",
    "facts",
)


def test_a_template_has_its_subject_once() -> None:
    assert template("The capital of France is", "France") == "The capital of {} is"
    assert template("France, said France,", "France") is None
    assert template("Water boils at", None) is None
    assert template("{} and France", "France") is None


def test_wordings_that_met_twice_are_borrowed() -> None:
    assert borrowed(FACTS, "The capital of Peru is", "Peru", 4) == ["Peru's capital is"]
    assert borrowed(FACTS, "The capital of Peru is", "Peru", 0) == []
    assert borrowed(FACTS, "The seat of power of Peru:", "Peru", 4) == []  # seen once
    assert borrowed(FACTS, "Peru's rivers are", "Peru", 4) == []


def test_a_subject_that_nobody_named_is_recognised() -> None:
    assert borrowed(FACTS, "The capital of Peru is", None, 4) == ["Peru's capital is"]
    assert borrowed(FACTS, "Peru's capital is", None, 4) == ["The capital of Peru is"]
    assert borrowed(FACTS, "The capital of  is", None, 4) == []
    assert borrowed(FACTS, "Lima is", None, 4) == []


def test_the_places_of_a_question_are_those_of_all_its_wordings() -> None:
    assert places_of(FACTS, ["Spain's capital is"]) == [3, 4]
    assert places_of(FACTS, ["Water boils at", "Spain's capital is", "?"]) == [3, 4, 5, 6]


def test_facts_of_a_file_need_two_wordings(tmp_path: Path) -> None:
    rows = [
        {"prompt": "The capital of Peru is", "target": "Lima", "subject": "Peru", "rephrases": ["Peru's capital is"]},
        {"prompt": "The capital of Chile is", "target": "Santiago"},
    ]
    path = tmp_path / "facts.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    found = phrasings_for(path)
    assert found.facts == (Fact("Peru", ("The capital of Peru is", "Peru's capital is")),)
    assert found.skipped == 1
    path.write_text(json.dumps(rows[0] | {"rephrases": ["Peru, whose capital is"]}))
    assert phrasings_for(path).digest != found.digest
    with pytest.raises(BadConfig, match="no file and no data set"):
        phrasings_for(tmp_path / "absent.jsonl")


def test_the_package_has_facts_that_nothing_edits() -> None:
    found = phrasings_for()
    assert len(found.facts) > 1000
    assert found is phrasings_for()
    assert found.facts[0].subject


def test_a_data_set_gives_the_facts_that_editors_learn_from_each_once() -> None:
    found = phrasings_for("lab-questions")
    edited = {edit.subject for edit in get("lab-questions").edits()}
    assert not edited & {fact.subject for fact in found.facts}
    prompts = [prompt for fact in found.facts for prompt in fact.prompts]
    assert len(set(prompts)) == len(prompts)
    assert {edit.prompt for edit in get("lab-questions").training()} <= set(prompts)
