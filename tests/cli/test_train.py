"""`errata train`: an editor from a file of edits, used by `errata edit`; what it plans, resumes and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import Run, content

from errata.edit_files import write_edits
from errata.edits import Edit, Probe
from errata.methods._base import METHODS

TRAINED = [name for name in METHODS.names() if METHODS.get(name).meta["needs_training"]]
UNTRAINED = [name for name in METHODS.names() if name not in TRAINED]
PROMPTS = ("Rome is a city", "Madrid is a city", "The book is French", "Who wrote it?", "Paris is a city", "Vienna too")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    made = [
        Edit(
            prompt, label, rephrases=(f"{prompt}!", f"{prompt}, no?"),
            locality=tuple(Probe(f"{other}.") for other in PROMPTS if other != prompt),
        )
        for number, text in enumerate(PROMPTS) for label in ("no", "maybe", "yes")
        for prompt in [f"{text} {label}" if number % 2 else f"{label}: {text}"]
    ]  # fmt: skip
    write_edits(tmp_path / "data.jsonl", made)
    return tmp_path / "data.jsonl"


def words(model: Path, data: Path, method: str = "mend") -> list[object]:
    options = ["--steps", 4, "--every", 2, "--batch", 6, "--rank", 8]
    return ["train", "--model", model, "--method", method, "--dataset", data, "--out", "editor", *options]


def test_it_trains_and_the_editor_edits(run: Run, model: Path, data: Path, tmp_path: Path) -> None:
    ran = run(*words(model, data), "--step", 1.0, "--json")
    assert ran.code == 0, ran.err
    (row,) = ran.rows
    assert (row["method"], row["status"], row["steps"], row["out"]) == ("mend", "trained", 4, "editor")
    assert row["lessons"] + row["validated_on"] == 18
    assert {"success", "generalization", "drawdown", "loss", "step"} <= row["best"].keys()
    left = content(tmp_path / "editor")
    assert set(left) == {"editor.json", "editor.safetensors", "curve.jsonl", "curve.png"}
    edit = ["edit", "--model", model, "--method", "mend", "--editor", "editor", "--prompt", "Rome is a city no"]
    outcomes = []
    for target in ("no", "maybe", "yes"):
        ran = run(*edit, "--target", target, "--json", "--dry-run")
        assert ran.code in (0, 2), ran.err
        outcomes.append(ran.rows[0]["status"])
    assert "done" in outcomes


def test_run_again_it_does_nothing_twice(run: Run, model: Path, data: Path, tmp_path: Path) -> None:
    first = run(*words(model, data))
    assert "18 lessons" not in first.out
    assert "4 steps in" in first.out
    before = content(tmp_path / "editor")
    assert run(*words(model, data)).out == first.out
    assert content(tmp_path / "editor") == before
    run(*words(model, data), "--lr", 0.5).one_line_error("holds a trained editor, with another lr", "another directory")


def test_interrupted_it_goes_on(run: Run, model: Path, data: Path, tmp_path: Path, monkeypatch) -> None:
    from errata.learn.rewriting import Rewriting

    step, taken = Rewriting.step, []

    def interrupted(self, lessons, rng):
        if len(taken) == 3:
            raise KeyboardInterrupt
        taken.append(len(lessons))
        return step(self, lessons, rng)

    monkeypatch.setattr(Rewriting, "step", interrupted)
    assert run(*words(model, data)).code == 130
    assert (tmp_path / "editor" / "checkpoint.safetensors").is_file()
    monkeypatch.setattr(Rewriting, "step", step)
    ran = run(*words(model, data), "--json")
    assert ran.code == 0, ran.err
    assert ran.rows[0]["steps"] == 4
    whole = run(*words(model, data), "--out", "whole", "--json")
    same = [json.loads((tmp_path / name / "editor.json").read_text())["sha256"] for name in ("editor", "whole")]
    assert same[0] == same[1], whole.err


def test_a_dry_run_writes_nothing_and_loads_no_model(run: Run, data: Path, tmp_path: Path) -> None:
    ran = run(*words(tmp_path / "no-model", data), "--dry-run", "--json")
    assert ran.code == 0, ran.err
    assert ran.rows[0]["status"] == "planned"
    assert ran.rows[0]["lessons"] + ran.rows[0]["validated_on"] == 18
    assert "up to 4 steps of 6; nothing was written" in run(*words(tmp_path, data), "--dry-run").out
    assert not (tmp_path / "editor").exists()


def test_own_validation(run: Run, model: Path, data: Path, tmp_path: Path) -> None:
    ran = run(*words(model, data), "--validation", data, "--dry-run", "--json")
    assert (ran.rows[0]["lessons"], ran.rows[0]["validated_on"]) == (18, 18)


@pytest.mark.parametrize("field", ["rephrases", "locality"])
def test_training_data_that_lacks_something(run: Run, model: Path, tmp_path: Path, field: str) -> None:
    whole = {"rephrases": ("b?",), "locality": (Probe("c"),)}
    write_edits(tmp_path / "bare.jsonl", [Edit(f"a {n}", "no", **{**whole, field: ()}) for n in range(20)])  # type: ignore[arg-type]
    named = "rephrases" if field == "rephrases" else "locality probes"
    run(*words(model, tmp_path / "bare.jsonl")).one_line_error(f"0 of 20 edits for training have {named}", "at least")


def test_mistakes_are_one_line(run: Run, model: Path, causal: Path, data: Path) -> None:
    run(*words(model, data, UNTRAINED[0])).one_line_error(f"'{UNTRAINED[0]}' needs no training")
    run(*words(model, data, "mned")).one_line_error("unknown method 'mned'", "mend")
    run(*words(model, data), "--stps", 3).one_line_error("no option '--stps'", "'--steps'")
    run(*words(model, data), "file.jsonl").one_line_error("'file.jsonl' is not expected here")
    run(*words(model, data), "--steps", 0).one_line_error("'steps' is 0")
    run(*words(model, Path("lab-facts"))).one_line_error("no edits to learn an editor from")
    run("train", "--model", model).one_line_error("--method")


def test_an_editor_for_another_model_or_none_at_all(run: Run, model: Path, causal: Path, data: Path) -> None:
    assert run(*words(model, data)).code == 0
    edit = ["edit", "--method", "mend", "--prompt", "Rome is", "--target", "no", "--model"]
    ran = run(*edit, causal, "--editor", "editor", "--sheet", "other")
    ran.one_line_error("the editor was trained for", "errata train")
    run(*edit, model).one_line_error("'mend' needs an editor trained for this model", "errata train")
    run(*edit, model, "--editor", "editor", "--rank", 9).one_line_error("was trained with rank 8, not 9")


def test_methods_says_what_needs_training(run: Run) -> None:
    lines = {line.split()[0]: line for line in run("methods").out.splitlines()}
    assert all(("needs training" in lines[name]) == (name in TRAINED) for name in lines)
    assert "needs training first" in run("methods", TRAINED[0]).out
