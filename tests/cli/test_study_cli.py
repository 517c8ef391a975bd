"""`errata bench` and `errata report` with a study of canonical examples."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import Run


def test_a_dry_run_says_what_would_be_run(run: Run, tmp_path: Path):
    ran = run("bench", "--recipe", "canonical-examples", "--out", tmp_path / "out", "--n", 8, "--dry-run", "--json")
    [plan] = ran.rows
    assert plan["model"] == "lab:gpt"
    assert plan["examples"][0] == "8 of lab-capitals"
    assert plan["runs"] > 100
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--protocol", "single"], "--protocol says nothing to a study"),
        (["--jobs", "2"], "leave --jobs out"),
        (["--dataset", "lab-facts"], "'lab-facts' is no set of canonical examples"),
        (["--dataset", "lab-new"], "lab-news"),
    ],
)
def test_what_says_nothing_to_a_study_is_refused(run: Run, tmp_path: Path, arguments: list[str], told: str):
    ran = run("bench", "--recipe", "canonical-examples", "--out", tmp_path / "out", *arguments, "--dry-run")
    assert ran.code == 2
    assert told in ran.err


def test_a_study_that_was_not_begun_has_nothing_to_report(run: Run, tmp_path: Path):
    run("report", tmp_path).one_line_error("there are no results at")
