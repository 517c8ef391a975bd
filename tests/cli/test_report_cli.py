"""`errata report`: what it writes and says, as text and as JSON; mistakes are one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import Run, content

from made_results import results, whole

FILES = {"report.html", "report.md", "report.json", "decay.png", "balance.png", "collapse.png"}


@pytest.fixture
def made(tmp_path: Path) -> Path:
    return whole(tmp_path / "results").path


def test_the_report_is_written_into_the_results(run: Run, made: Path):
    before = content(made)
    ran = run("report", made)
    assert (ran.code, ran.err) == (0, "")
    assert "grace answers 95.0% of the edited prompts with the target, more than ft (50.0%)." in ran.out
    assert ran.out.splitlines()[-1].endswith(f"written to {made / 'report'}")
    assert set(content(made / "report")) == FILES
    assert {name: data for name, data in content(made).items() if not name.startswith("report/")} == before


def test_a_dry_run_names_the_files_and_writes_none(run: Run, made: Path):
    ran = run("report", made, "--out", "there", "--dry-run")
    assert ran.code == 0
    assert ran.out.splitlines()[-1].endswith("to there; nothing was written")
    assert all(name in ran.out for name in FILES)
    assert not Path("there").exists()


def test_as_json(run: Run, made: Path):
    ran = run("report", made, "--out", "there", "--json")
    (row,) = ran.rows
    assert {Path(file).name for file in row["files"]} == FILES == set(content(Path("there")))
    assert row["title"] == "A made comparison"
    assert row["entrants"][1]["failures"][0]["reason"] == "the target is not reachable"
    assert any("ft broke" in sentence for sentence in row["summary"])


def test_the_browser_opens_only_when_asked(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made, shown = results(tmp_path / "r").path, []
    monkeypatch.setattr("click.launch", shown.append)
    assert run("report", made, "--out", "there").code == 0
    assert run("report", made, "--out", "there", "--open", "no").code == 0
    assert run("report", made, "--out", "there", "--open", "yes", "--dry-run").code == 0
    assert shown == []
    assert run("report", made, "--out", "there", "--open", "yes").code == 0
    assert shown == [str(Path("there") / "report.html")]


def test_unfinished_results_say_what_is_missing(run: Run, tmp_path: Path):
    ran = run("report", results(tmp_path / "r").path)
    assert ran.code == 0
    assert ran.out.splitlines()[:3] == [
        "Nothing has been measured yet.", "missing: grace has not been started", "missing: ft has not been started",
    ]  # fmt: skip


def test_no_results_are_one_line(run: Run, tmp_path: Path):
    run("report", tmp_path / "nowhere").one_line_error("there are no results at", "errata bench --out")
    run("report").one_line_error("RESULTS")
