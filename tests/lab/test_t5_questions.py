"""Questions about the lab's facts: what is seen and what is held out, and the facts that are left untaught."""

from __future__ import annotations

from collections import Counter

import pytest

from errata.datasets import get
from errata.lab.knowledge import Knowledge, Score, guess_rate
from errata.lab.questions import ask, edit_of, learned, templates, unlearned

RELATIONS = sorted({row["relation"] for row in get("lab-facts").rows()})


def wordings(relation: str, part: str) -> list[str]:
    """Without frames: a framed question ends with its plain one."""
    every = templates(relation, part)  # type: ignore[arg-type]
    return [text for text in every if not any(text != other and text.endswith(other) for other in every)]


@pytest.mark.parametrize("relation", RELATIONS)
def test_a_relation_has_enough_questions_and_none_of_the_held_out_wordings_is_seen(relation: str):
    seen, held_out = templates(relation, "seen"), templates(relation, "held_out")
    assert len(set(seen)) == len(seen) >= 10
    assert len(set(held_out)) == len(held_out) >= 10
    assert len(wordings(relation, "seen")) >= 4
    assert len(wordings(relation, "held_out")) >= 4
    assert not any(old in new for old in wordings(relation, "seen") for new in held_out)
    assert all(text.count("{}") == 1 for text in [*seen, *held_out])


def test_a_question_asks_for_one_relation_only():
    pairs = [(relation, part) for relation in RELATIONS for part in ("seen", "held_out")]
    asked = Counter(text for relation, part in pairs for text in templates(relation, part))  # type: ignore[arg-type]
    assert max(asked.values()) == 1


def test_a_question_is_about_its_subject():
    row = {"subject": "Danielle Darrieux", "relation": "P103"}
    assert ask(row, "seen")[0] == "What is the mother tongue of Danielle Darrieux?"
    assert ask(row, "held_out")[0] == "What is the native tongue of Danielle Darrieux?"


def test_untaught_facts_are_of_the_edit_split_spread_over_relations_and_their_answers_are_taught():
    rest, taught = unlearned(), learned()
    assert len(rest) == 400
    assert len(rest) + len(taught) == len(get("lab-facts").rows())
    assert {row["split"] for row in rest} == {"edit"}
    assert max(Counter(row["relation"] for row in rest).values()) <= 13
    answers = Counter((row["relation"], row["target"]) for row in taught)
    assert min(answers[row["relation"], row["target"]] for row in rest) >= 2
    told = {(row["subject"], row["target"]) for row in taught}
    assert not any((row["subject"], row["target"]) in told for row in rest), "one could read it off another fact"


def test_the_edit_of_a_fact_asks_what_was_seen_and_rephrases_with_what_was_not():
    row = unlearned()[0]
    edit = edit_of(row)
    assert (edit.prompt, edit.target, edit.subject) == (ask(row, "seen")[0], row["target"], row["subject"])
    assert list(edit.rephrases) == ask(row, "held_out")


def test_the_guess_is_the_most_frequent_answer_of_the_relation():
    def rows(*pairs: tuple[str, str]) -> list[dict[str, str]]:
        return [{"relation": relation, "target": target} for relation, target in pairs]

    known = rows(("a", "x"), ("a", "x"), ("a", "y"), ("b", "y"))
    assert guess_rate(rows(("a", "x"), ("a", "y"), ("b", "y"), ("c", "x")), known) == 0.5


def test_untaught_facts_stand_last_in_the_table_and_count_for_no_relation():
    rest = Knowledge({"a": Score(1, 4)}, {"a": Score(0, 2)}, [False])
    found = Knowledge({"a": Score(3, 4)}, {"a": Score(1, 2)}, [True], untaught=rest, guess=0.1)
    assert [(row["relation"], row["seen"], row["held_out"]) for row in found.table()] == [
        ("all", 0.75, 0.5), ("a", 0.75, 0.5), ("untaught", 0.25, 0.0)
    ]  # fmt: skip
    assert found.table()[-1]["guess"] == 0.1
    assert found.markdown().endswith("most frequent answer gets right: 10.0%")
