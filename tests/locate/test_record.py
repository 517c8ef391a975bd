"""A record goes on where it was, drops a torn line, and refuses other work."""

from __future__ import annotations

from pathlib import Path

import pytest

from errata.errors import BadConfig
from errata.locate.record import Record

WORK = {"model": "m", "seed": 0}


def test_results_are_there_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "r.jsonl"
    with Record(path, WORK) as record:
        record.add("a", [1, 2])
    with Record(path, WORK) as record:
        assert record.results == {"a": [1, 2]}
        record.add("b", {"x": 0.1})
    with Record(path, WORK) as record:
        assert record.results == {"a": [1, 2], "b": {"x": 0.1}}


@pytest.mark.parametrize("kept", [0, 1])
def test_a_line_that_was_cut_off_is_dropped(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "r.jsonl"
    with Record(path, WORK) as record:
        record.add("a", 1)
        record.add("b", 2)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[: kept + 1]) + lines[kept + 1][:-3])
    with Record(path, WORK) as record:
        assert list(record.results) == ["a"][:kept]
        record.add("c", 3)
    with Record(path, WORK) as record:
        assert list(record.results) == [*["a"][:kept], "c"]


def test_even_the_first_line_may_be_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(b'{"wor')
    with Record(path, WORK) as record:
        record.add("a", 1)
    with Record(path, WORK) as record:
        assert record.results == {"a": 1}


def test_other_work_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    Record(path, WORK).__exit__(None, None, None)
    before = path.read_bytes()
    with pytest.raises(BadConfig, match=r"other work \(seed: 0, not 1\); give another directory"):
        Record(path, WORK | {"seed": 1})
    assert path.read_bytes() == before
    path.write_text("hello\n")
    with pytest.raises(BadConfig, match="is not a file of results"):
        Record(path, WORK)
    assert path.read_text() == "hello\n"


def test_without_a_path_it_is_in_memory() -> None:
    with Record(None, WORK) as record:
        record.add("a", 1)
        assert record.results == {"a": 1}
