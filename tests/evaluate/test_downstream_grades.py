"""Grades of downstream tasks and the examples they come from; no harness is needed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from errata import datasets
from errata.errors import BadConfig, BadEdit
from errata.evaluate.downstream.battery import Battery, paired
from errata.evaluate.downstream.choices import examples, is_data, lab_choices
from errata.evaluate.downstream.grades import Graded, figures


def test_accuracy_by_task_and_over_all_questions():
    now = [Graded("a", "1", 1.0), Graded("a", "2", 0.0), Graded("b", "1", 1.0), Graded("b", "2", 1.0)]
    found = figures(now)
    assert {name: figure.value for name, figure in found.items() if figure} == {"": 0.75, "a": 0.5, "b": 1.0}
    assert {name: figure.n for name, figure in found.items() if figure} == {"": 4, "a": 2, "b": 2}


def test_grades_are_paired_by_question():
    before = [Graded("a", "1", 1.0), Graded("a", "2", 1.0), Graded("b", "1", 0.0)]
    now = [Graded("b", "1", 1.0), Graded("a", "2", 0.0), Graded("a", "1", 0.0)]
    rows = paired(before, now)
    assert [row.before for row in rows] == [0.0, 1.0, 1.0]
    found = {name: figure.value for name, figure in figures(rows).items() if figure}
    assert found["a.change"] == -1.0
    assert found["b.change"] == 1.0
    assert found["a.before"] == 1.0
    assert found["before"] == pytest.approx(2 / 3)
    assert found["change"] == pytest.approx(-1 / 3)
    assert [Graded(**row.to_json()) for row in rows] == rows


def test_no_grades_no_figures():
    assert figures([]) == {"": None, "before": None, "change": None}


def test_a_choice_among_the_objects_of_one_relation():
    rows = {(row["subject"], row["relation"]): row for row in datasets.get("lab-facts").rows()}
    objects = {relation: {r["target"] for r in rows.values() if r["relation"] == relation} for _, relation in rows}
    asked = lab_choices()
    assert len(asked) == len(datasets.get("lab-facts").upstream())
    for one in asked:
        subject, _, relation = str(one.id).rpartition(", ")
        row = rows[subject, relation]
        assert (row["split"], row["known"]) == ("locality", True)
        assert one.gold is not None
        assert one.choices[one.gold] == row["target"]
        assert len(set(one.choices)) == 4
        assert set(one.choices) <= objects[relation]
    assert {one.gold for one in asked} == {0, 1, 2, 3}, "the place gives nothing away"
    assert lab_choices() == asked != lab_choices(seed=1)


def test_examples_are_drawn_by_the_seed_from_all_paradigms():
    few = examples("blimp", 40)
    assert examples("blimp", 40) == few != examples("blimp", 40, seed=1)
    assert examples("blimp", 10) == few[:10]
    assert len({one.kind for one in few}) > 10


def test_the_users_own_copy_is_a_task(tmp_path: Path):
    rows = [{"sentence": "a fine film", "label": 1}, {"sentence": "a bore", "label": 0}]
    (tmp_path / "sst2.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert is_data(f"glue-sst2={tmp_path / 'sst2.jsonl'}")
    assert sorted(str(one.gold) for one in examples(f"glue-sst2={tmp_path / 'sst2.jsonl'}")) == ["0", "1"]


def test_examples_without_a_right_answer_are_no_task():
    with pytest.raises(BadEdit, match="no example of 'stereoset' has a right answer"):
        examples("stereoset")


def test_without_the_harness_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "lm_eval.evaluator", None)
    with pytest.raises(BadConfig, match=r"errata\[harness\]"):
        Battery(["blimp"])
