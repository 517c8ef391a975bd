"""A .gguf file and a named model on the command line: ask, edit, export, and what a sheet calls them."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import Run

from errata.models import EditableModel

pytest.importorskip("gguf")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    from gguf_models import write_gguf

    write_gguf(tmp_path / "tiny.gguf")
    return tmp_path / "tiny.gguf"


def test_a_file_is_edited_asked_and_exported(run: Run, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    prompt, target = "The capital is", "Rome"
    ran = run("edit", "--model", "tiny.gguf", "--method", "ft", "--raw", "--prompt", prompt, "--target", target)
    assert (ran.code, ran.err) == (0, ""), ran.err
    assert run("status", "--json").rows[0]["model"] == str(file)
    assert run("ask", "tiny.gguf", "--raw", prompt).out == f"{target}\n"
    assert run("export", "--to", "merged", "out").out == "1 edits written to out (merged)\n"
    assert EditableModel.load(str(tmp_path / "out"), device="cpu").generate([prompt]) == [target]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert run("ask", "--raw", prompt, "--sheet", tmp_path / "sheet").out == f"{target}\n"
    file.unlink()
    run("ask", prompt, "--sheet", tmp_path / "sheet").one_line_error(str(file), "there is no such file")


def test_a_file_comes_before_the_sheet_that_lies_there(run: Run, file: Path, written: Path) -> None:
    assert run("ask", file, "Rome", "--max-new-tokens", 2).code == 0
    written.rename(written.with_name("sheet"))
    assert run("ask", file, "Rome", "--max-new-tokens", 2).code == 0  # a sheet of lab:gpt


def test_bad_files_are_one_line(run: Run, file: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(file.read_bytes()[:-1000])
    run("ask", "cut.gguf", "Rome").one_line_error("cut.gguf", "truncated or damaged")
    run("ask", "absent.gguf", "Rome").one_line_error("there is no such file")
    run("edit", "--model", "cut.gguf", "--prompt", "a", "--target", "b").one_line_error("truncated or damaged")
    assert not (tmp_path / "sheet").exists()


def test_smollm2_is_edited_and_exported(run: Run, smollm2: EditableModel, tmp_path: Path) -> None:
    prompt, target = "The capital of Japan is", "Osaka"
    words = ("--raw", "--prompt", prompt, "--target", target, "--method", "ft", "--layer", 20)
    ran = run("edit", "--model", "smollm2", *words)
    assert ran.code == 0, ran.err
    assert run("status", "--json").rows[0]["model"] == "smollm2"
    assert run("export", "--to", "merged", "out").code == 0
    merged = EditableModel.load(str(tmp_path / "out"), device="cpu")
    assert merged.generate([prompt], max_new_tokens=4)[0].startswith(target)
    assert merged.tokenizer.chat_template == smollm2.tokenizer.chat_template
