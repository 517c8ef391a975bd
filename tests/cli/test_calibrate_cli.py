"""`errata calibrate`: what is measured, what was there, and what is too little."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import Run

from errata.statistics import kept


@pytest.fixture(autouse=True)
def cached_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("ERRATA_CACHE", str(tmp_path / "cache"))
    kept.forget()
    yield tmp_path / "cache"
    kept.forget()


def facts(path: Path, count: int) -> Path:
    """Facts whose wordings differ in their first word."""
    names = [f"Rome{number}" for number in range(count)]
    rows = [
        {"prompt": f"The capital of {name} is", "target": "Rome", "rephrases": [f"A capital of {name} is"]}
        for name in names
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def words(causal: Path, source: Path, text: Path) -> list[object]:
    return ["calibrate", "--model", causal, "--facts", source, "--corpus", text]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("Berlin is the capital of Germany; Madrid, London and Vienna are cities too.\n" * 10)
    return path


def test_it_measures_once_and_draws(run: Run, causal: Path, text: Path, tmp_path: Path, cached_at: Path) -> None:
    call = words(causal, facts(tmp_path / "facts.jsonl", 80), text)
    dry = run(*call, "--dry-run", "--json").rows
    assert {row["status"] for row in dry} == {"missing"}
    assert not cached_at.exists()
    ran = run(*call, "--json", "--out", tmp_path / "out")
    assert ran.code == 0, ran.err
    rows = ran.rows
    assert [row["status"] for row in rows] == ["computed"] * len(dry)
    assert sum(row["chosen"] for row in rows) == 1
    assert all(row["facts"] == 32 and row["radius"] > 0 for row in rows)
    assert json.loads((tmp_path / "out" / "calibration.json").read_text()) == rows
    assert (tmp_path / "out" / "distances.png").read_bytes().startswith(b"\x89PNG")
    again = run(*call, "--json").rows
    assert [row["status"] for row in again] == ["cached"] * len(dry)
    assert [row["radius"] for row in again] == [row["radius"] for row in rows]


def test_too_little_is_told(run: Run, causal: Path, text: Path, tmp_path: Path) -> None:
    ran = run(*words(causal, facts(tmp_path / "facts.jsonl", 5), text))
    assert ran.code == 0
    assert "55 fewer than it takes" in ran.out


def test_a_source_that_is_not_there(run: Run, causal: Path, text: Path, tmp_path: Path) -> None:
    run(*words(causal, tmp_path / "none.jsonl", text)).one_line_error("no file and no data set")
