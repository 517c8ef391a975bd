"""Collapse and forgetting from the records of runs: lines made by hand, and a small real run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from errata import datasets
from errata.errors import BadConfig, UnknownName
from errata.evaluate.collapse import Collapse, Hard, Life, collapse, forgetting, hard_edits, hardest, track
from errata.evaluate.evidence import Answer
from errata.evaluate.questions import Question
from errata.evaluate.results import Run, whole_lines


def stream(*looks: float | None, failed: str = "") -> list[dict[str, Any]]:
    """Batches of one edit, e1, e2, …, with the perplexity after each; None: nobody looked."""
    return [
        {"ids": [f"e{place}"], "right": [], "failed": {f"e{place}": "x"} if f"e{place}" in failed.split() else {}}
        | ({} if look is None else {"perplexity": look})
        for place, look in enumerate(looks, start=1)
    ]  # fmt: skip


def test_the_disabling_edit_is_where_perplexity_rises_for_good():
    assert collapse(stream(10, 11, 30, 12, 25, 99)) == Collapse(("e5",), 5, 25.0, 10.0)


def test_a_model_that_recovers_or_stays_whole_has_not_collapsed():
    assert collapse(stream(10, 50, 20)) is None
    assert collapse(stream(10, 20)) is None, "twice the first is not above twice the first"
    assert collapse(stream(10, 20), factor=1.9) == Collapse(("e2",), 2, 20.0, 10.0)


def test_between_two_looks_every_edit_is_suspect():
    lines = stream(10, None, None, 30, None, None, 40, failed="e3")
    assert collapse(lines) == Collapse(("e2", "e4"), 4, 30.0, 10.0)


def test_the_first_edit_may_be_the_disabling_one_if_the_unedited_model_is_known():
    assert collapse(stream(500, 600)) is None
    assert collapse(stream(500, 600), start=10) == Collapse(("e1",), 1, 500.0, 10.0)


def test_a_perplexity_that_is_no_number_is_a_collapse():
    found = collapse(stream(10, math.nan, math.inf))
    assert found is not None
    assert found.suspects == ("e2",)


def test_a_run_that_nobody_watched_says_so():
    for lines in ([], stream(None, None)):
        with pytest.raises(BadConfig, match="monitor: 1"):
            collapse(lines)
        with pytest.raises(BadConfig, match="monitor: 1"):
            hardest(lines)


def test_the_hardest_edits_come_first_and_those_that_changed_nothing_not_at_all():
    lines = stream(12, 99, math.nan, 10, 50, failed="e4")
    lines[4]["right"] = ["e5"]
    assert [hard.edit for hard in hardest(lines)] == ["e3", "e2", "e1"]
    assert hardest(stream(12, 99), 1) == [Hard("e2", 99.0)]


def told(run: Run, moment: int, held: dict[str, bool]) -> None:
    """Record what was answered after so many edits."""
    run.write_answers(moment, [
        Answer(Question("reliability", f"{id} is", "Rome", id), "Rome", "Rome" if kept else "Paris", "Oslo").to_json()
        for id, kept in held.items()
    ])  # fmt: skip
    distance = {"value": moment / 10, "low": 0.0, "high": 1.0, "n": 1, "answers": 1}
    figures = {"weight-distance.per-element": distance} if moment > 1 else {}
    run.write("figures.json", [*run.figures(), {"edits": moment, "figures": figures}])


@pytest.fixture
def record(tmp_path: Path) -> Run:
    """Five edits, of which e2 failed; asked about after 1, 3 and 5."""
    run = Run(tmp_path / "run")
    for line in stream(None, None, None, None, None, failed="e2"):
        run.append(line)
    told(run, 1, {"e1": True})
    told(run, 3, {"e1": False, "e2": False, "e3": True})
    told(run, 5, {"e1": True, "e2": False, "e3": False, "e4": True, "e5": False})
    return run


def test_every_edit_is_followed_to_where_it_was_first_lost(record: Run):
    assert forgetting(record) == [Life("e1", 1, 3), Life("e3", 3, 5), Life("e4", 4, None), Life("e5", 5, 5)]


def test_a_sample_cannot_say_when_an_edit_was_lost(record: Run):
    told(record, 6, {"e1": True})
    with pytest.raises(BadConfig, match=r"e3 was not asked about after 6 edits.*sample: 0"):
        forgetting(record)


def test_a_figure_is_followed_over_the_checkpoints_that_have_it(record: Run):
    assert track(record) == [(3, 0.3), (5, 0.5)]
    assert track(record, "kl") == []


def test_single_edits_are_ranked_by_the_harm_they_do(tmp_path: Path):
    edits = datasets.get("counterfact-lab").edits()[:4]
    options = {"radius": 1.0}
    found = hard_edits("lab:gpt", edits, "grace", tmp_path, options=options)
    path = tmp_path / "results/runs/grace/stream.jsonl"
    lines = whole_lines(path)
    assert sorted(hard.edit for hard in found) == sorted(id for line in lines for id in line["ids"])
    assert [hard.perplexity for hard in found] == sorted((line["perplexity"] for line in lines), reverse=True)
    assert len(found) == 4
    before = path.read_bytes()
    assert hard_edits("lab:gpt", edits, "grace", tmp_path, options=options) == found
    assert path.read_bytes() == before, "what is finished is not run again"
    with pytest.raises(BadConfig, match="other options"):
        hard_edits("lab:gpt", edits, "grace", tmp_path, options={"radius": 2.0})


def test_a_wrong_name_is_refused_before_anything_is_written(tmp_path: Path):
    with pytest.raises(UnknownName, match="Did you mean 'grace'"):
        hard_edits("lab:gpt", datasets.get("counterfact-lab").edits()[:1], "graec", tmp_path / "out")
    assert not (tmp_path / "out").exists()
