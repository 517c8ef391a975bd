"""Facts from edits and from tables, their order, and which of them a model knows."""

from __future__ import annotations

import pytest

from errata.datasets import get
from errata.edits import Edit
from errata.errors import BadEdit
from errata.locate.facts import Fact, as_edits, default_facts, facts_of, known, sampled, states_facts
from errata.models import EditableModel
from tiny import tiny_model


def test_the_truth_behind_an_edit() -> None:
    edits = [
        Edit("Rome is in", "Spain", subject="Rome", ground_truth="Italy"),
        Edit("Who?", "Me"),
        Edit("Oslo is in", "Norway", subject="Oslo"),
    ]
    assert facts_of(edits) == [Fact("Rome is in", "Rome", "Italy"), Fact("Oslo is in", "Oslo", "Norway")]
    with pytest.raises(BadEdit, match=r"no record of x\.jsonl names a subject"):
        facts_of(edits[1:2], "x.jsonl")


def test_tables_of_facts_are_told_from_edits() -> None:
    for name in ("lab-facts", "known-1000"):
        rows = get(name).rows()
        assert states_facts(rows)
        edits = as_edits(rows[:50], name)
        assert all(edit.subject and edit.ground_truth is None for edit in edits)
    assert not states_facts(get("counterfact-lab").rows())
    assert not states_facts(get("zsre").rows())


def test_a_bad_row_is_reported_by_its_number() -> None:
    good = {"prompt": "Oslo is in", "subject": "Oslo", "attribute": "Norway"}
    (edit,) = as_edits([good])
    assert (edit.prompt, edit.target, edit.subject, edit.rephrases) == ("Oslo is in", "Norway", "Oslo", ())
    with pytest.raises(BadEdit, match="known: record 2: the subject 'Rome' does not occur"):
        as_edits([good, good | {"subject": "Rome"}], "known")
    with pytest.raises(BadEdit, match="known: record 2 has no prompt and answer"):
        as_edits([good, {"prompt": "Oslo is in"}], "known")


def test_the_order_depends_on_the_seed_and_the_facts_alone() -> None:
    facts = [Fact(f"{name} is", name, "x") for name in "abcdefgh"]
    assert sampled(facts, 1) == sampled([*reversed(facts), facts[3]], 1)
    assert sampled(facts, 1) != sampled(facts, 2)
    assert sorted(fact.key for fact in sampled(facts, 1)) == sorted(fact.key for fact in facts)


def test_a_fact_is_known_by_every_token_of_its_answer() -> None:
    model = EditableModel.load("lab:gpt")
    facts = [
        Fact("The capital of Angola is", "Angola", "Luanda"),
        Fact("The capital of Angola is", "Angola", "Luanda Norte"),
        Fact("The capital of Angola is", "Angola", "Paris"),
    ]
    assert [right for _, right in known(model, facts)] == [True, False, False]


def test_default_facts_are_the_models_own() -> None:
    lab, other = tiny_model("gpt2"), tiny_model("gpt2")
    lab.name = "lab:gpt"
    name, edits = default_facts(lab)
    part = default_facts(lab, split="calibrate")[1]
    assert name == "lab-facts"
    assert 0 < len(part) < len(edits)
    assert {edit.prompt for edit in part} < {edit.prompt for edit in edits}
    assert default_facts(other, split="calibrate") == default_facts(other)
    assert default_facts(other)[0] == "known-1000"
