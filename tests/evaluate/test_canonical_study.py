"""Studies of canonical examples: a method whose effect is known, a tiny model, and files in published form."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pretended_method import NAME, Push, pretending

from errata.cli import _study
from errata.errors import BadConfig
from errata.evaluate.canonical.folder import Cell, Folder, is_study
from errata.evaluate.canonical.outcome import Findings, findings, unmeasurable
from errata.evaluate.canonical.page import markdown, write
from errata.evaluate.canonical.plan import Plan
from errata.evaluate.canonical.runs import General, Half, run
from errata.evaluate.canonical.scoring import nats
from errata.evaluate.canonical.study import conduct, count, gain, halves, task_of
from errata.evaluate.figures import Figure, share
from errata.models import EditableModel
from errata.solve.nested import nested
from tiny import tiny_model

COUNTRIES = {"val": ("Mali", "Peru", "Oman"), "test": ("Chad", "Cuba", "Iran")}
CAPITALS = "canonical-country-capital"
PUSH, WIDE, NARROW = 12.0, 1e6, 1e-9
IS = "is"  # one token of the tiny models


def save(path: Path, *rows: tuple[str, str, str]) -> None:
    lines = [{"country": name, "prefix": prefix, "suffix": suffix} for name, prefix, suffix in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def files(folder: Path) -> Path:
    """Three countries a half, whose capital is "is" and whose neighbour is "Y", and the same as a task to lower."""
    for split, names in COUNTRIES.items():
        told = [(name, f"The capital of {name} is", f" {IS}") for name in names]
        asked = [(name, f"{where} {name} lies", f" {IS}") for name in names for where in ("Near", "In")]
        near = [(name, f"{name} borders", " Y") for name in names]
        parts = {"fixed": told, "clear_eval": asked, "hard_neg": near}
        for part, rows in parts.items():
            save(folder / "country_capital" / "split" / f"country_capital_{part}-{split}.jsonl", *rows)
        for part, rows in {"train": told, "eval_clear": asked, "hard_neg": near}.items():
            save(folder / "stereoset" / "split" / f"stereoset_{part}-{split}.jsonl", *rows)
    return folder


@pytest.fixture(scope="module")
def method() -> Iterator[str]:
    with pretending() as name:
        yield name


@pytest.fixture(scope="module")
def model() -> EditableModel:
    return tiny_model("gpt2")


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory, model: EditableModel) -> Plan:
    folder = tmp_path_factory.mktemp("study")
    model.model.save_pretrained(folder / "model")
    model.tokenizer.save_pretrained(folder / "model")
    data = files(folder / "data")
    return Plan.of({
        "study": "canonical", "model": str(folder / "model"), "balls": [WIDE, NARROW], "seeds": [0, 1], "texts": 2,
        "tasks": [f"{CAPITALS}={data}", f"canonical-stereoset={data}"], "examples": 2,
        "methods": [{"method": NAME, "sweep": [{"push": 0.0}, {"push": PUSH}]}],
        "unbounded": {"method": NAME, "push": PUSH},
    })  # fmt: skip


@pytest.fixture(scope="module")
def done(plan: Plan, method: str, tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return conduct(plan, tmp_path_factory.mktemp("results") / "out")


@pytest.fixture(scope="module")
def found(done: Folder) -> Findings:
    return findings(done)


def pushed(model: EditableModel, push: float, prompts: list[str], suffix: str) -> list[float]:
    tokens = sorted(set(model.encode(["a"], [IS], end=False).target_ids[0]))
    patch = Push(tokens, push)
    patch.attach(model)
    try:
        return nats(model, prompts, [suffix] * len(prompts))
    finally:
        patch.detach(model)


def test_a_half_asks_of_whom_it_learned(plan: Plan):
    half = halves(plan)[plan.tasks[0], "test"]
    drawn = half.drawn(2, seed=0)
    assert len(set(drawn)) == 2
    assert half.drawn(2, seed=0) == drawn
    assert half.drawn(9, seed=0) != list(range(3)) or half.drawn(9, seed=1) != list(range(3))
    learned = {COUNTRIES["test"][place] for place in drawn}
    assert {half.eval[place][0] for place in half.asked(drawn)} == learned
    assert len(half.asked(drawn)) == 4
    stranger = replace(half, eval=[*half.eval, ("Utopia", half.eval[0][1])])
    assert [*half.asked(drawn), 6] == stranger.asked(drawn)
    assert [(e.goal, e.id) for e in half.edits([2])] == [("raise", "example-0002")]


def test_values_of_a_run_are_the_edited_models(done: Folder, plan: Plan, model: EditableModel):
    half = halves(plan)[plan.tasks[0], "test"]
    told = done.runs()[Cell(NAME, 1, plan.tasks[0], "test", WIDE, 1)]
    prompts = [half.eval[place][1].prompt for place in told["asked"]]
    assert told["drawn"] == half.drawn(2, 1)
    assert told["eval"] == pytest.approx(pushed(model, PUSH, prompts, IS), abs=1e-3)
    beside = [example.prompt for _, example in half.hard_negatives]
    assert told["hard"] == pytest.approx(pushed(model, PUSH, beside, "Y"), abs=1e-3)


def test_balls_that_end_at_one_state_are_measured_once(
    plan: Plan, model: EditableModel, method: str, monkeypatch: pytest.MonkeyPatch
):
    half, general, measured = halves(plan)[plan.tasks[0], "val"], General(model, 2), []
    inner = Half.measure
    monkeypatch.setattr(Half, "measure", lambda *args: (measured.append(1), inner(*args))[1])

    def told(push: float, ball: float) -> dict[str, Any]:
        options = {"push": push, "ball": ball}
        return run(model, general, half, method, options, examples=2, seed=0) | {"seconds": 0}

    alone = [told(0.5, WIDE), told(1.0, WIDE), told(1.0, NARROW)]
    measured.clear()
    with nested((WIDE, NARROW)):
        assert [told(0.5, WIDE), told(1.0, WIDE), told(1.0, NARROW)] == alone
    assert len(measured) == 2
    assert [one["state"] for one in alone] == [None, None, "outside"]
    assert not {"eval", "hard"} & alone[2].keys()


def test_before_holds_the_unedited_model(done: Folder, plan: Plan, model: EditableModel):
    half = halves(plan)[plan.tasks[0], "val"]
    values = done.read("before.json")[plan.tasks[0]]["val"]
    prompts = [example.prompt for _, example in half.train]
    assert values["train"] == pytest.approx(nats(model, prompts, [IS] * 3), abs=1e-3)


def test_validation_chooses_what_gains(done: Folder, plan: Plan):
    runs = done.runs()
    trials = [Cell(NAME, config, plan.tasks[0], "val", WIDE, 0) for config in (0, 1)]
    before = done.read("before.json")[plan.tasks[0]]["val"]["eval"]
    assert [gain(task_of(plan.tasks[0]), runs[cell], before) for cell in trials] == [0.0, 1.0]
    chosen = {(cell.ball, cell.config) for cell in runs if (cell.task, cell.split, cell.label)
              == (plan.tasks[0], "test", NAME)}  # fmt: skip
    assert chosen == {(WIDE, 1), (NARROW, 0)}  # in the narrow ball none gains, and the first of equals is taken


def test_what_leaves_its_ball_counts_as_no_edit(done: Folder, plan: Plan, found: Findings):
    told = done.runs()[Cell(NAME, 1, plan.tasks[0], "val", NARROW, 0)]
    assert (told["state"], "eval" in told) == ("outside", False)
    assert told["rise"]["ball"] > NARROW
    wide, narrow = (found.tasks[NAME, ball, plan.tasks[0]] for ball in (WIDE, NARROW))
    assert (wide.gain.value, wide.lost, wide.config) == (1.0, {}, {"push": PUSH})
    assert narrow.gain.value == narrow.gain.low == narrow.gain.high == 0.0
    assert wide.hard is not None
    assert 0 < wide.hard.value <= 2 * PUSH  # "Y" is two tokens


def test_what_a_method_refuses_counts_as_no_edit_in_the_mean(done: Folder, plan: Plan, found: Findings):
    lowered = found.tasks[NAME, WIDE, plan.tasks[1]]
    assert (lowered.lost, lowered.runs, lowered.gain.value) == ({"refused": 2}, 2, 0.0)
    assert lowered.problem is not None
    assert "can't lower" in lowered.problem
    mean = found.means[NAME, WIDE]
    assert found.measured == list(plan.tasks)
    assert (mean.gain.value, mean.runs, mean.lost) == (0.5, 4, {"refused": 2})
    assert found.missing == 0
    assert len(done.runs()) == count(plan)


def test_the_edit_without_a_ball_is_there(found: Findings, plan: Plan):
    moved = found.before[plan.tasks[0]].moved
    assert moved is not None
    assert (moved.value, found.before[plan.tasks[0]].eval.value) == (1.0, 0.0)


def test_interrupted_it_goes_on(done: Folder, plan: Plan, tmp_path: Path):
    again = tmp_path / "again"
    shutil.copytree(done.path, again)
    lines = (again / "runs.jsonl").read_bytes().splitlines(keepends=True)
    (again / "runs.jsonl").write_bytes(b"".join(lines[:-2]) + lines[-2][:40])
    with pytest.raises(BadConfig, match="add --resume"):
        conduct(plan, again)
    resumed = conduct(plan, again, resume=True)

    def plain(folder: Folder) -> list[Any]:
        return [(cell, {**told, "seconds": 0}) for cell, told in folder.runs().items()]

    assert plain(resumed) == plain(done)
    assert (again / "runs.jsonl").read_bytes().startswith(b"".join(lines[:-2]))


def test_a_resumed_study_may_gain_methods_and_nothing_else_may_change(done: Folder, plan: Plan, tmp_path: Path):
    again = tmp_path / "again"
    shutil.copytree(done.path, again)
    more = Plan.of(plan.to_json() | {"methods": [{"method": NAME, "label": "other"}]})
    assert [one.label for one in Folder.start(again, more, resume=True).plan.methods] == [NAME, "other"]
    assert findings(Folder.open(again)).missing == 2 * 2 * 2
    for changed in ({"examples": 3}, {"methods": [{"method": NAME, "label": NAME, "push": 1.0}]}):
        with pytest.raises(BadConfig, match="results of other settings"):
            Folder.start(again, Plan.of(plan.to_json() | changed), resume=True)
    with pytest.raises(BadConfig, match="another model"):
        Folder.open(again).bind({"model": "other"})


def test_the_model_is_left_as_it_was(plan: Plan, model: EditableModel, method: str, monkeypatch: pytest.MonkeyPatch):
    half, general = halves(plan)[plan.tasks[0], "test"], General(model, 2)
    batch = model.encode(["The capital of Chad is"])
    before = model.forward(batch)
    run(model, general, half, method, {"push": PUSH}, examples=2, seed=0)
    assert torch.equal(model.forward(batch), before)
    monkeypatch.setattr(Half, "measure", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(model, general, half, method, {"push": PUSH}, examples=2, seed=0)
    assert torch.equal(model.forward(batch), before)


def figure(value: float, low: float, high: float) -> Figure:
    return Figure(value, low, high, 40, 80)


@pytest.mark.parametrize(
    ("train", "scored", "right", "moved", "why"),
    [
        (0.95, 0.9, None, None, "nothing to correct: 95% of the examples and 90% of the rest are done"),
        (0.95, 0.5, None, None, None),
        (0.0, 0.0, (0.52, 0.4, 0.6), (0.0, -0.1, 0.1), "no behaviour to correct: 52%"),
        (0.0, 0.0, (0.52, 0.4, 0.6), (0.2, 0.1, 0.3), None),  # an edit moves it
        (0.0, 0.0, (0.7, 0.6, 0.8), (0.0, -0.1, 0.1), None),  # the model has a preference
        (0.0, 0.0, (0.52, 0.4, 0.6), None, None),  # nobody tried
        (0.0, 0.0, None, (0.0, -0.1, 0.1), None),  # a failure to count, not a task to leave out
    ],
)
def test_when_a_task_can_tell_nothing(train: float, scored: float, right: Any, moved: Any, why: str | None):
    shares = [figure(value, value - 0.1, value + 0.1) for value in (train, scored)]
    said = unmeasurable(*shares, right and figure(*right), moved and figure(*moved))
    assert (said or "").startswith(why or "\0") if why else said is None


def test_success_before_is_by_subject(found: Findings, plan: Plan):
    assert found.before[plan.tasks[0]].eval == share((name, False) for name in COUNTRIES["test"] for _ in range(2))


def test_the_report_has_every_method_ball_and_reason(done: Folder, found: Findings, plan: Plan, tmp_path: Path):
    text = markdown(done, found)
    # of eight runs in two balls four are refused; the wide ball holds two, the narrow one, by options that push
    # nothing, two as well
    assert f"| {NAME} | +50.0 [+50.0, +50.0] | +0.0 [+0.0, +0.0] | 4 of 8 |" in text
    assert "2 of 2 refused" in text
    assert f"* {NAME}: 'pretend' can't lower" in text
    written = write(done, tmp_path / "report")
    assert [path.name for path in written] == ["report.md", "report.json", "gains.png"]
    data = json.loads(written[1].read_text())
    assert [(row["method"], row["ball"], row["gain"]["value"]) for row in data["means"]] == [
        (NAME, WIDE, 0.5), (NAME, NARROW, 0.0),
    ]  # fmt: skip
    first = [path.read_bytes() for path in written]
    assert [path.read_bytes() for path in write(done, tmp_path / "report")] == first


def test_an_unmeasurable_task_is_told_and_left_out_of_means(done: Folder, plan: Plan, tmp_path: Path):
    again = tmp_path / "again"
    shutil.copytree(done.path, again)
    before = done.read("before.json")
    before[plan.tasks[1]]["test"] |= {"train": [9.0] * 3, "eval": [9.0] * 6}  # nothing left to lower
    Folder.open(again).write("before.json", before)
    left = findings(Folder.open(again))
    assert left.measured == [plan.tasks[0]]
    assert left.means[NAME, WIDE].gain.value == 1.0
    assert "not measurable here: nothing to correct" in markdown(Folder.open(again), left)


def test_the_command_line_tells_means(done: Folder, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    assert is_study(done.path)
    _study.report(done, tmp_path / "report", dry_run=True, as_json=False)
    assert "+50.0 points [+50.0, +50.0]" in capsys.readouterr().out
    assert not (tmp_path / "report").exists()
    _study.report(done, None, dry_run=False, as_json=True)
    [told] = json.loads(capsys.readouterr().out)
    assert told["missing"] == 0
    assert (done.path / "report" / "gains.png").exists()
