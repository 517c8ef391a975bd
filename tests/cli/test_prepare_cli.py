"""`errata prepare`: what is computed, what was there, and what needs nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import Run, content

from errata.methods._base import METHODS
from errata.statistics import kept

PREPARING = [name for name in METHODS.names() if METHODS.get(name).prepares()]
OTHERS = [name for name in METHODS.names() if name not in PREPARING]


@pytest.fixture(autouse=True)
def cached_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("ERRATA_CACHE", str(tmp_path / "cache"))
    kept.forget()
    yield tmp_path / "cache"
    kept.forget()


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("Berlin is the capital of Germany; Madrid, London and Vienna are cities too.\n" * 10)
    return path


def words(causal: Path, text: Path, method: str = PREPARING[0]) -> list[object]:
    return ["prepare", "--model", causal, "--method", method, "--corpus", text, "--layers", "1", "--tokens", "150"]


def test_a_dry_run_says_what_is_missing_and_writes_nothing(
    run: Run, causal: Path, text: Path, cached_at: Path
) -> None:
    ran = run(*words(causal, text), "--dry-run", "--json")
    assert ran.code == 0, ran.err
    (row,) = ran.rows
    assert (row["layer"], row["role"], row["tokens"], row["status"]) == (1, "mlp_down", 150, "missing")
    assert row["corpus"] == str(text)
    assert not cached_at.exists()
    assert "1 to compute; nothing was written" in run(*words(causal, text), "--dry-run").out


def test_it_computes_once(run: Run, causal: Path, text: Path, cached_at: Path) -> None:
    first = run(*words(causal, text), "--json").rows[0]
    assert (first["status"], first["rank"], first["size"], first["warning"]) == ("computed", 48, 48, None)
    before = content(cached_at)
    kept.forget()
    again = run(*words(causal, text))
    assert "cached" in again.out
    assert "nothing to compute" in again.out
    assert content(cached_at) == before
    assert run(*words(causal, text), "--dry-run", "--json").rows[0]["status"] == "cached"


def test_too_little_text_is_told(run: Run, causal: Path, text: Path) -> None:
    text.write_text("French")
    ran = run(*words(causal, text))
    assert ran.code == 0, ran.err
    assert "of 48 directions" in ran.out


@pytest.mark.parametrize("method", OTHERS[:1])
def test_a_method_that_needs_nothing_says_so(run: Run, causal: Path, method: str) -> None:
    call = ["prepare", "--model", causal, "--method", method]
    assert run(*call).out == f"{method} needs no preparation\n"
    assert run(*call, "--json").rows == []


def test_mistakes_are_one_line(run: Run, causal: Path, text: Path) -> None:
    run("prepare", "--model", causal, "--method", "memmit").one_line_error("unknown method 'memmit'", "memit")
    run(*words(causal, text), "--tokns", "3").one_line_error("no option '--tokns'", "'--tokens'")
    run(*words(causal, text), "file.jsonl").one_line_error("'file.jsonl' is not expected here")
    run(*words(causal, text.with_name("no.txt"))).one_line_error("no file and no data set", "no.txt")
    run("prepare", "--method", PREPARING[0]).one_line_error("--model")
