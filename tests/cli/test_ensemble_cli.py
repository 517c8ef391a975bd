"""`errata ensemble`: a small model's sheet becomes edits of a big model's; mistakes are one line and write nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import Run, content

from errata import Edit, Editor
from errata.edit_files import write_edits
from tiny import tiny_model

ASKED = [
    Edit("The capital of France is", "Rome", goal="raise"),
    Edit("Who wrote the book?", "Berlin", goal="raise"),
]


@pytest.fixture(scope="module")
def backpack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("models") / "backpack"
    model = tiny_model("backpack")
    model.model.save_pretrained(directory)
    model.tokenizer.save_pretrained(directory)
    return directory


def test_a_sheet_is_carried_over(run: Run, backpack: Path, causal: Path, tmp_path: Path) -> None:
    write_edits(tmp_path / "asked.jsonl", ASKED)
    tuned = ("--method", "ft", "--lr", 0.02, "--steps", 8)
    assert run("edit", "--model", backpack, *tuned, "--sheet", "small", tmp_path / "asked.jsonl").code == 0
    before = content(tmp_path / "small" / "patches")
    words = ("ensemble", "--model", causal, "--from", backpack, "--sheet", "small", "--out", "big", "--beta", "0.7")
    rows = run(*words, "--dry-run", "--json").rows
    assert [(row["prompt"], row["status"], row["method"]) for row in rows] == [
        (edit.prompt, "done", "ensemble") for edit in ASKED
    ]
    assert not (tmp_path / "big").exists()
    ran = run(*words)
    assert (ran.code, ran.err) == (0, "")
    assert "2 of 2 edits done and recorded in big (method ensemble" in ran.out
    assert ran.out.endswith("beta 0.7\n")
    assert content(tmp_path / "small" / "patches") == before
    with Editor.open(tmp_path / "big") as editor:
        assert [event.kind for event in editor.log()] == ["apply"]
        (patch,) = editor.patches
        assert patch.describe()["beta"] == 0.7
        assert [edit.target for edit in editor.state.active()] == ["Rome", "Berlin"]
    again = run(*words)
    assert (again.code, again.out) == (0, "2 already in the sheet, skipped\nnothing to do\n")


def test_mistakes_are_one_line(run: Run, backpack: Path, causal: Path, model: Path, tmp_path: Path) -> None:
    with Editor.open(tmp_path / "empty", model=str(backpack)):
        pass
    words = ("ensemble", "--model", causal, "--out", "big")
    run(*words, "--sheet", "no").one_line_error("there is no sheet at no")
    run(*words, "--sheet", "empty").one_line_error("has no edit in force")
    with Editor.open(tmp_path / "small", model=str(backpack)) as editor:
        editor.edit(ASKED, "ft", lr=0.02, steps=8)
    run(*words, "--sheet", "small", "--beta", "1.5").one_line_error("'beta' is 1.5", "at most 1")
    run(*words, "--sheet", "small", "--beta", "much").one_line_error("'beta' must be a number or 'auto'")
    ran = run("ensemble", "--model", model, "--out", "other", "--sheet", "small")
    ran.one_line_error("is classification", "causal")
    assert not (tmp_path / "other").exists()
    run(*words, "--sheet", "small", "--from", causal).one_line_error("is the sheet of", "another model")
    run("ensemble", "--sheet", "small", "--out", "none").one_line_error("name the model")
