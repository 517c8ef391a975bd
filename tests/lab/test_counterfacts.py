"""Counterfactual edits of the lab's facts: what each changes, and that what must not move is not moved by another."""

from errata.datasets import get
from errata.datasets.lab_facts import rows
from errata.lab.counterfacts import counterfacts


def test_every_edit_gives_a_known_fact_another_answer_of_its_relation():
    facts = {row["prompt"]: row for row in rows("edit")}
    answers: dict[str, set[str]] = {}
    for row in facts.values():
        answers.setdefault(row["relation"], set()).add(row["target"])
    edits = counterfacts()
    assert len({edit.prompt for edit in edits}) == len(edits) >= 2000
    for edit in edits:
        row = facts[edit.prompt]
        assert row["known"]
        assert edit.target != row["target"] == edit.ground_truth
        assert edit.target in answers[row["relation"]]
        assert str(edit.subject) in edit.prompt
        assert edit.rephrases == tuple(row["rephrases_held_out"])


def test_what_must_not_move_is_asked_in_no_edit():
    edits = counterfacts()
    asked = {prompt for edit in edits for prompt in (edit.prompt, *edit.rephrases)}
    probes = [probe for edit in edits for probe in edit.locality]
    assert not asked & {probe.prompt for probe in probes}
    truth = {wording: row["target"] for row in rows() for wording in (row["prompt"], *row["rephrases_seen"])}
    assert all(probe.answer == truth[probe.prompt] for probe in probes if probe.prompt in truth)
    for edit in edits:
        for probe in edit.locality:
            assert (str(edit.subject) in probe.prompt) == (probe.kind == "same_subject")


def test_it_is_a_data_set():
    dataset = get("lab-counterfacts")
    assert dataset.edits() == list(counterfacts())
    assert dataset.upstream()
