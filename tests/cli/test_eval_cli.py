"""`errata eval`: the report, the gate's exit code and words, and errors of one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from commands import Run

PROMPT, TARGET = "Is Paris the capital of Italy?", "yes"
PROBES = ("Is it?", "Berlin", "Who wrote the book?", "The capital of Germany is Berlin.")


@pytest.fixture(scope="session")
def wide(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sheet of one edit with a radius so wide that the classifier says yes to everything."""
    from errata import Edit, Editor
    from errata.edits import Probe

    path = tmp_path_factory.mktemp("sheets") / "wide"
    with Editor.open(path, model=str(model)) as editor:
        edit = Edit(PROMPT, TARGET, rephrases=("Is Italy's capital Paris?",), locality=tuple(map(Probe, PROBES)))
        assert editor.edit(edit, radius=1e4).done
    return path


@pytest.fixture
def sheet(wide: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(wide, tmp_path / "sheet"))


@pytest.fixture
def before(run: Run, model: Path) -> dict[str, str]:
    """What the classifier says without the edit."""
    return {row["prompt"]: row["answer"] for row in run("ask", model, *PROBES, "--json").rows}


def test_figures_and_answers_with_and_without_the_edits(
    run: Run, model: Path, wide: Path, before: dict[str, str]
) -> None:
    ran = run("eval", "--sheet", wide, "--json")
    assert (ran.code, ran.err) == (0, "")
    (row,) = ran.rows
    kept = sum(answer == TARGET for answer in before.values())
    assert kept < len(PROBES), "the edit moves something"
    figures = row["figures"]
    assert figures["reliability"]["value"] == figures["generalization"]["value"] == 1
    assert figures["locality"]["value"] == kept / len(PROBES)
    assert (figures["locality"]["n"], figures["locality"]["answers"]) == (1, len(PROBES))
    assert figures["accuracy"]["value"] == 1, "of the questions with a key"
    assert "perplexity" not in figures
    assert row["unmeasured"]["perplexity"] == "needs a causal model"
    said = {answer["question"]["prompt"]: (answer["before"], answer["said"]) for answer in row["answers"]}
    assert said == said | {prompt: (answer, TARGET) for prompt, answer in before.items()}


def test_the_table_names_what_moved(run: Run, wide: Path, before: dict[str, str]) -> None:
    ran = run("eval", "--sheet", wide)
    assert ran.code == 0, ran.err
    moved = [prompt for prompt, answer in before.items() if answer != TARGET]
    lines = ran.out.splitlines()
    assert lines[0].endswith("1 edits in force, 6 questions asked with the edits and without")
    assert any(line.startswith("reliability ") and "Share of edits" in line for line in lines)
    assert f"{len(moved)} of 4 answers moved though no edit is about them: prompt, without edits -> with them" in lines
    for prompt in moved:
        assert f"  locality  {prompt}  {before[prompt]!r} -> 'yes'" in lines


def test_a_gate_that_holds_exits_0_and_one_that_fails_exits_1_with_the_prompts(
    run: Run, wide: Path, before: dict[str, str]
) -> None:
    passing = run("eval", "--sheet", wide, "--gate", "reliability>=1,locality>=0")
    assert passing.code == 0
    assert "gate passed  reliability>=1  the value 1 meets it (n=1)" in passing.out
    failing = run("eval", "--sheet", wide, "--gate", "reliability>=1,locality>=1")
    assert failing.code == 1
    (at,) = [i for i, line in enumerate(failing.out.splitlines()) if line.startswith("gate FAILED  locality>=1")]
    moved = next(prompt for prompt, answer in before.items() if answer != TARGET)
    assert any(moved in line for line in failing.out.splitlines()[at + 1 :])
    assert run("eval", "--sheet", wide, "--gate", "reliability>=1", "--strict").code == 1, "of one edit"


def test_a_figure_that_the_gate_needs_but_nobody_can_measure_fails(run: Run, wide: Path) -> None:
    ran = run("eval", "--sheet", wide, "--metrics", "locality", "--gate", "perplexity<=10", "--json")
    assert ran.code == 1
    (row,) = ran.rows
    assert row["gate"][0]["passed"] is False
    assert row["gate"][0]["reason"].startswith("was not measured")
    assert {name.partition(".")[0] for name in row["figures"]} == {"locality"}


def test_probes_of_a_file(run: Run, wide: Path, tmp_path: Path) -> None:
    path = tmp_path / "probes.jsonl"
    rows = [{"prompt": PROMPT, "answer": TARGET, "kind": "reliability"}, {"prompt": "Is it?", "answer": "yes"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (row,) = run("eval", path, "--sheet", wide, "--json").rows
    assert [answer["question"]["kind"] for answer in row["answers"]] == ["reliability", "upstream"]
    assert row["questions"] == str(path)
    path.write_text('{"prompt": "a", "kind": "robustness"}\n')
    run("eval", path, "--sheet", wide).one_line_error("probes.jsonl:1:", "no expected answer; add one")


def test_out_holds_figures_and_every_answer(run: Run, wide: Path, tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    ran = run("eval", "--sheet", wide, "--metrics", "locality", "--out", out)
    assert ran.code == 0
    assert ran.out.splitlines()[-1] == f"figures and all answers written to {out}"
    written = json.loads(out.read_text())
    assert len(written["answers"]) == 6
    assert written["figures"]["locality"]["answers"] == len(PROBES)


def test_metrics_that_are_named_come_with_their_parts_and_reasons(run: Run, wide: Path) -> None:
    out = run("eval", "--sheet", wide, "--metrics", "accuracy,portability").out
    assert [line.split()[0] for line in out.splitlines()[3:7]] == [
        "accuracy", ".before", ".reliability", ".generalization",
    ]  # fmt: skip
    assert "portability: not measured (no portability question was asked)" in out
    assert "More figures" not in out


def test_a_causal_model_has_texts(run: Run, tmp_path: Path) -> None:
    words = ("--prompt", "The capital of Italy is", "--target", "Vienna")
    ran = run("edit", "--model", "lab:gpt", *words, "--sheet", "s")
    assert ran.code == 0, ran.err
    text = tmp_path / "text.txt"
    text.write_text("The capital of France is Paris and not Rome.\n\nWho wrote the book about the capital of Italy?\n")
    (row,) = run("eval", "--sheet", "s", "--metrics", "kl,perplexity", "--texts", text, "--json").rows
    assert row["figures"]["kl"]["n"] == 2
    assert row["figures"]["perplexity"]["value"] > 1


def test_wrong_words_are_one_line(run: Run, wide: Path, sheet: Path) -> None:
    run("eval", "--sheet", wide, "--metrics", "localty").one_line_error("unknown metric 'localty'", "'locality'")
    run("eval", "--sheet", wide, "--gate", "localty>=1").one_line_error("unknown metric 'localty'", "'locality'")
    run("eval", "--sheet", wide, "--gate", "locality").one_line_error("is no condition", "metric>=number")
    run("eval", "--sheet", "none").one_line_error("there is no sheet at none")
    run("eval", "nowhere.jsonl", "--sheet", wide).one_line_error("nowhere.jsonl")
    assert run("undo", "e1", "--sheet", sheet).code == 0
    run("eval", "--sheet", sheet).one_line_error("no edit of", "in force")
