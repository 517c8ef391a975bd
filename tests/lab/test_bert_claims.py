"""Claims: what is true, what is false, and what a change of guideline turns over."""

from __future__ import annotations

from collections import Counter

import pytest

from errata.datasets import get
from errata.errors import BadConfig, UnknownName
from errata.lab.claims import OTHER, REFUTES, SUPPORTS, claims, false_objects, label_shift, sentence


def fact(subject: str, relation: str, target: str) -> dict[str, str]:
    return {"subject": subject, "relation": relation, "target": target}


def test_a_false_object_answers_the_relation_and_is_true_in_no_fact_of_the_subject():
    rows = [
        fact("Ann", "born", "Paris"), fact("Ann", "died", "Rome"),
        fact("Bob", "born", "Rome"), fact("Cem", "born", "Rome"), fact("Dai", "born", "Oslo"),
        fact("Eva", "born", "Bonn"), fact("Eva", "died", "New York City"),
        fact("Fay", "died", "New York"), fact("Gus", "died", "york"),
    ]  # fmt: skip
    false = false_objects(rows)
    # Rome is not false of Ann, who died there; an object stands as often as it answers.
    assert Counter(false[0]) == Counter(["Oslo", "Bonn"])
    assert Counter(false[4]) == Counter(["Paris", "Rome", "Rome", "Bonn"])
    # "New York" and "york" share words with "New York City".
    assert false[6] == ["Rome"]


def test_every_fact_is_claimed_once_rightly_and_once_falsely_in_one_phrasing():
    rows = get("lab-facts").rows()
    drawn = claims(seed=5)
    assert len(drawn) == 2 * len(rows)
    true = {(row["subject"], row["target"]) for row in rows}
    for index, (right, wrong) in enumerate(zip(drawn[::2], drawn[1::2], strict=True)):
        row = rows[index]
        assert (right.fact, right.label, right.object) == (index, SUPPORTS, row["target"])
        assert (wrong.fact, wrong.label, wrong.relation) == (index, REFUTES, row["relation"])
        assert (row["subject"], wrong.object) not in true
        prompt = right.text.removesuffix(f" {right.object}.")
        assert wrong.text == sentence(prompt, wrong.object)
        assert prompt in [row["prompt"], *row["rephrases_seen"]]


def test_held_out_claims_are_in_held_out_phrasings():
    rows = get("lab-facts").rows()
    for claim in claims("calibrate", "held_out", seed=1):
        prompts = rows[claim.fact]["rephrases_held_out"]
        assert claim.text in [sentence(prompt, claim.object) for prompt in prompts]
        assert rows[claim.fact]["split"] == "calibrate"


def test_a_seed_settles_the_claims_and_a_split_draws_the_same_ones():
    assert claims(seed=2) == claims(seed=2) != claims(seed=3)
    rows = get("lab-facts").rows()
    assert claims("edit", seed=2) == [claim for claim in claims(seed=2) if rows[claim.fact]["split"] == "edit"]


def test_unknown_names_are_told():
    with pytest.raises(UnknownName, match=r"split 'edti'.*'edit'"):
        claims("edti")
    with pytest.raises(UnknownName, match=r"phrasing 'held-out'.*'held_out'"):
        claims(phrasing="held-out")  # type: ignore[arg-type]
    with pytest.raises(UnknownName, match=r"relation 'capitol'.*'capital'"):
        label_shift(relations=["capitol"])


def test_a_shift_turns_the_labels_of_its_relations_over_and_no_others():
    rows = get("lab-facts").rows()
    shift = label_shift(seed=1, relations=["P103", "capital"], edits=40, upstream=100)
    asked = {claim.text: claim for claim in claims("edit", seed=1)}
    assert (len(shift.edits), len(shift.upstream)) == (40, 100)
    assert Counter(edit.target for edit in shift.edits) == {SUPPORTS: 20, REFUTES: 20}
    assert Counter(probe.answer for probe in shift.upstream) == {SUPPORTS: 50, REFUTES: 50}
    for edit in shift.edits:
        claim = asked[edit.prompt]
        assert claim.relation in ("P103", "capital")
        assert (edit.ground_truth, edit.target) == (claim.label, OTHER[claim.label])
        assert edit.subject == rows[claim.fact]["subject"]
        assert all(text.endswith(f" {claim.object}.") for text in edit.rephrases)
        assert sentence(rows[claim.fact]["rephrases_held_out"][0], claim.object) in edit.rephrases
        assert edit.prompt not in edit.rephrases
    for probe in shift.upstream:
        assert asked[probe.prompt].relation not in ("P103", "capital")
        assert asked[probe.prompt].label == probe.answer
    assert len({asked[edit.prompt].fact for edit in shift.edits}) == 40
    assert shift == label_shift(seed=1, relations=["P103", "capital"], edits=40, upstream=100)


def test_a_shift_of_subjects_takes_all_their_relations():
    rows = get("lab-facts").rows()
    subjects = {row["subject"] for row in rows if row["split"] == "edit" and row["relation"] == "currency"}
    shift = label_shift(subjects=subjects, edits=200)
    asked = {claim.text: rows[claim.fact] for claim in claims("edit")}
    assert {asked[edit.prompt]["subject"] for edit in shift.edits} <= subjects
    assert len({asked[edit.prompt]["relation"] for edit in shift.edits}) >= 5
    assert not {asked[probe.prompt]["subject"] for probe in shift.upstream} & subjects


def test_without_relations_three_are_drawn():
    by_text = {claim.text: claim.relation for claim in claims("edit", seed=4)}
    drawn = {by_text[edit.prompt] for edit in label_shift(seed=4, edits=1000).edits}
    assert len(drawn) == 3


def test_a_shift_of_everything_or_nothing_is_refused():
    everything = {row["relation"] for row in get("lab-facts").rows()}
    for relations in (everything, []):
        with pytest.raises(BadConfig, match="some of the claims, and not all"):
            label_shift(relations=relations)
