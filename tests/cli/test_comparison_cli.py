"""`errata bench` and `errata report` with a comparison."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import Run, content

from errata.edit_files import write_edits
from errata.edits import Edit


@pytest.fixture
def recipe(causal: Path, tmp_path: Path) -> Path:
    """One edit of a tiny model, and a part without data."""
    write_edits(tmp_path / "edits.jsonl", [Edit("The capital of France is", "Rome")])
    some = {"model": str(causal), "texts": 0, "upstream_n": 0, "max_new_tokens": 2, "metrics": ["reliability"]}
    parts = [
        some | {"name": "here", "dataset": str(tmp_path / "edits.jsonl")},
        some | {"name": "absent", "dataset": "nowhere.jsonl", "methods": [{"method": "ft", "steps": 1}]},
    ]
    methods = [{"method": "grace", "label": "grace", "steps": 1}, {"method": "lora", "label": "lora", "steps": 1}]
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps({"study": "comparison", "methods": methods, "parts": parts}))  # which is YAML too
    return path


def test_what_cannot_be_run_is_told_and_the_rest_is_run_and_reported(run: Run, recipe: Path, tmp_path: Path):
    out = tmp_path / "out"
    ran = run("bench", "--recipe", recipe, "--out", out, "--methods", "grace,ft", "--n", 1, "--json")
    assert ran.code == 1
    assert [(row["part"], row["method"], row["edits"]) for row in ran.rows] == [("here", "grace", 1)]
    assert "errata: absent: nowhere.jsonl: cannot be read" in ran.err
    run("bench", "--recipe", recipe, "--out", out, "--n", 1).one_line_error("add --resume")

    ran = run("report", out)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines()[0].startswith("here: There is no harmonic mean")
    assert set(content(out / "report")) == {"report.html", "report.md", "report.json"}
    [row] = run("report", out, "--out", "there", "--dry-run", "--json").rows
    assert [part["name"] for part in row["parts"]] == ["here", "absent"]
    assert not Path("there").exists()
    assert run("report", out / "here").code == 0, "a part alone"


def test_a_dry_run_says_what_every_part_comes_to(run: Run, recipe: Path, tmp_path: Path):
    ran = run("bench", "--recipe", recipe, "--out", tmp_path / "out", "--dry-run", "--json")
    assert ran.code == 1
    assert [(row["part"], row["edits"], row["methods"]) for row in ran.rows] == [("here", 1, ["grace", "lora"])]
    assert "errata: absent:" in ran.err
    ran = run("bench", "--recipe", recipe, "--out", tmp_path / "out", "--dry-run", "--methods", "lora")
    assert ran.code == 0
    assert ran.out.splitlines()[-1] == "nothing was run and nothing was written"
    assert "1 edits, measured after 1: lora" in ran.out
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--protocol", "single"], "--protocol says nothing to a comparison"),
        (["--methods", "graec"], "Did you mean 'grace'"),
    ],
)
def test_what_says_nothing_to_a_comparison_is_refused(
    run: Run, recipe: Path, tmp_path: Path, arguments: list[str], told: str
):
    ran = run("bench", "--recipe", recipe, "--out", tmp_path / "out", *arguments)
    assert ran.code == 2
    assert told in ran.err


def test_another_study_is_a_wrong_name(run: Run, tmp_path: Path):
    (tmp_path / "recipe.yaml").write_text("study: comparsion\n")
    ran = run("bench", "--recipe", tmp_path / "recipe.yaml", "--out", tmp_path / "out")
    ran.one_line_error("unknown study 'comparsion'", "Did you mean 'comparison'")
