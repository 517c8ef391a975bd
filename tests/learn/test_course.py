"""The training loop on a course of one number: what is kept, how it goes on, when it stops, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from errata.errors import BadConfig, BadPatch
from errata.learn.checkpoint import NAME
from errata.learn.course import Course, Outcome, Schedule, finish, train
from errata.learn.lessons import lessons
from learn.lesson_edits import OneNumber, edits

LESSONS = lessons(edits(30), seed=0)
SCHEDULE = Schedule(steps=40, batch=4, every=10)


def go(course: Course, out: Path, schedule: Schedule = SCHEDULE, **work: object) -> Outcome:
    return train(course, LESSONS, out, schedule, work={"method": "one", "options": {"lr": 0.1}, **work})


def test_it_learns_and_leaves_a_curve(tmp_path: Path):
    outcome = go(OneNumber(), tmp_path)
    assert float(outcome.tensors["number"]) == pytest.approx(3.0, abs=0.3)
    rows = [json.loads(line) for line in (tmp_path / "curve.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 10, 20, 30, 40]
    assert rows[0]["loss"] == 9.0
    assert rows[0]["training_loss"] is None
    assert rows[-1]["loss"] < 0.2
    assert outcome.facts["best"] == min(rows, key=lambda row: row["loss"])
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_an_interrupted_training_goes_on_bit_for_bit(tmp_path: Path):
    class Interrupted(OneNumber):
        def step(self, lessons, rng):
            if len(self.seen) == 25:
                raise KeyboardInterrupt
            return super().step(lessons, rng)

    whole = OneNumber()
    expected = go(whole, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        go(Interrupted(), tmp_path / "parts")
    second = OneNumber()
    outcome = go(second, tmp_path / "parts")
    assert len(second.seen) == 20  # from the checkpoint at step 20
    assert second.seen == whole.seen[20:]
    assert second.drawn == whole.drawn[20:]
    for name, tensor in expected.tensors.items():
        assert torch.equal(outcome.tensors[name], tensor)
    curves = [[json.loads(line) for line in (tmp_path / part / "curve.jsonl").open()] for part in ("whole", "parts")]
    assert [row["loss"] for row in curves[0]] == [row["loss"] for row in curves[1]]


def test_the_best_is_kept_not_the_last(tmp_path: Path):
    class Worsening(OneNumber):
        def validate(self, lessons):
            then.append(float(self.number.detach()))
            return {**super().validate(lessons), "loss": 1.0 if len(self.seen) == 20 else 2.0}

    then: list[float] = []
    outcome = go(Worsening(), tmp_path)
    assert outcome.facts["best"]["step"] == 20
    assert float(outcome.tensors["number"]) == then[2] != then[4]


def test_it_stops_when_validation_has_not_become_better(tmp_path: Path):
    class Stuck(OneNumber):
        def validate(self, lessons):
            return {"loss": 1.0, "success": 0.0, "drawdown": 0.0}

    course = Stuck()
    assert go(course, tmp_path, Schedule(steps=1000, batch=2, every=5, patience=3)).facts["steps"] == 15
    assert len(course.seen) == 15


@pytest.mark.parametrize(
    ("course", "told"),
    [(OneNumber(nan_at=15), "the loss is not a number"), (OneNumber(rise_at=20), "the validation loss rose from 9")],
)
def test_divergence_stops_and_keeps_the_last_good_checkpoint(tmp_path: Path, course: OneNumber, told: str):
    with pytest.raises(BadConfig, match=told) as caught:
        go(course, tmp_path)
    assert "lower the learning rate" in str(caught.value)
    assert (tmp_path / NAME).is_file()
    assert [json.loads(line)["step"] for line in (tmp_path / "curve.jsonl").open()] == [0, 10]


def test_other_work_in_the_same_directory_is_refused_by_name(tmp_path: Path):
    go(OneNumber(), tmp_path)
    with pytest.raises(BadConfig, match=r"with another lr \(0.1, not 0.2\); give another directory"):
        go(OneNumber(), tmp_path, options={"lr": 0.2})
    with pytest.raises(BadConfig, match="with another method"):
        go(OneNumber(), tmp_path, method="two")


def test_a_damaged_checkpoint_is_refused(tmp_path: Path):
    go(OneNumber(), tmp_path)
    (tmp_path / NAME).write_bytes(b"nonsense")
    with pytest.raises(BadPatch, match="is damaged; delete it"):
        go(OneNumber(), tmp_path)
    finish(tmp_path)
    assert not (tmp_path / NAME).exists()


def test_several_batches_make_one_step_of_their_mean_gradient(tmp_path: Path):
    class Recording(OneNumber):
        def step(self, lessons, rng):
            told = super().step(lessons, rng)
            self.gradient = float(self.number.grad)
            return told

    course = Recording()
    go(course, tmp_path, Schedule(steps=1, batch=4, accumulate=3, every=1))
    assert len(course.seen) == 3
    assert course.gradient == pytest.approx(-18.0, abs=0.1)  # three times 2 (0 - 3), summed before the step


def test_rates_fall_to_zero_in_the_last_part():
    schedule = Schedule(steps=100, batch=1, decay_from=0.6)
    assert [schedule.rate(step) for step in (0, 59, 60, 80, 100)] == [1.0, 1.0, 1.0, 0.5, 0.0]
    assert Schedule(steps=10, batch=1, decay_from=1.0).rate(9) == 1.0


@pytest.mark.parametrize("bad", [{"steps": 0}, {"every": 0}, {"clip": 0.0}, {"decay_from": 1.5}, {"patience": 0}])
def test_a_schedule_out_of_range(bad: dict[str, float]):
    with pytest.raises(BadConfig, match=next(iter(bad))):
        Schedule(**{"steps": 1, "batch": 1, **bad})  # type: ignore[arg-type]
