"""What a sheet does with whole files: consistent copies, and sweeping away what no event names."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from errata.errors import BadSheet
from errata.sheet import SWEEP_GRACE, Sheet
from sheets import BASE, add, change, write_patch


@pytest.fixture
def sheet(tmp_path: Path) -> Iterator[Sheet]:
    with Sheet.create(tmp_path / "sheet", BASE) as sheet:
        yield sheet


def test_sweep_removes_only_old_files_that_no_event_names(sheet: Sheet) -> None:
    def age(name: str, seconds: float) -> None:
        write_patch(sheet, name)
        then = time.time() - seconds
        os.utime(sheet.patches / name, (then, then))

    age("before-any-event", 2 * SWEEP_GRACE)
    assert sheet.sweep() == ()
    add(sheet, "a")
    os.utime(sheet.patches / "1.safetensors", (0, 0))
    age("recent", SWEEP_GRACE / 2)
    write_patch(sheet, "being-written")
    (sheet.patches / "folder").mkdir()
    assert sheet.sweep() == ("before-any-event",)
    assert sorted(os.listdir(sheet.patches)) == ["1.safetensors", "being-written", "folder", "recent"]


def test_copy_is_equal_and_grows_with_its_source(sheet: Sheet, tmp_path: Path) -> None:
    dest = tmp_path / "deep" / "copy"
    add(sheet, "a")
    write_patch(sheet, "unnamed")
    sheet.copy_to(dest)
    with Sheet.open(dest) as copy:
        assert (copy.base, copy.events()) == (BASE, sheet.events())
        assert os.listdir(copy.patches) == ["1.safetensors"]
    add(sheet, "a")
    change(sheet, "undo", "e1")
    for _ in range(2):
        sheet.copy_to(dest)
        with Sheet.open(dest) as copy:
            copy.verify()
            assert copy.state() == sheet.state()
    assert os.listdir(tmp_path / "deep") == ["copy"]


def test_copy_into_an_empty_directory_and_onto_itself(sheet: Sheet, tmp_path: Path) -> None:
    add(sheet, "a")
    (tmp_path / "copy").mkdir()
    sheet.copy_to(tmp_path / "copy")
    sheet.copy_to(sheet.path)
    with Sheet.open(tmp_path / "copy") as copy:
        assert copy.events() == sheet.events()


def test_copy_never_overwrites_anything_else(sheet: Sheet, tmp_path: Path) -> None:
    add(sheet, "a")
    sheet.copy_to(tmp_path / "ahead")
    with Sheet.open(tmp_path / "ahead") as ahead:
        add(ahead, "b")
    with pytest.raises(BadSheet, match=r"holds events that .* lacks"):
        sheet.copy_to(tmp_path / "ahead")
    with Sheet.create(tmp_path / "diverged", BASE) as diverged:
        add(diverged, "z")
    with pytest.raises(BadSheet, match=r"holds events that .* lacks"):
        sheet.copy_to(tmp_path / "diverged")
    Sheet.create(tmp_path / "stranger", BASE | {"fingerprint": "0" * 64}).close()
    with pytest.raises(BadSheet, match="sheet of another model"):
        sheet.copy_to(tmp_path / "stranger")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").write_bytes(b"cat")
    with pytest.raises(BadSheet, match="no errata sheet"):
        sheet.copy_to(tmp_path / "photos")
    with pytest.raises(BadSheet, match="no errata sheet"):
        sheet.copy_to(tmp_path / "photos" / "cat.png")
    assert os.listdir(tmp_path / "photos") == ["cat.png"]


def test_a_copy_of_a_changed_file_fails_and_leaves_nothing(sheet: Sheet, tmp_path: Path) -> None:
    add(sheet, "a")
    (sheet.patches / "1.safetensors").write_bytes(b"tampered")
    with pytest.raises(BadSheet, match="not what was recorded"):
        sheet.copy_to(tmp_path / "copy")
    assert os.listdir(tmp_path) == ["sheet"]


def test_the_copy_is_made_of_committed_events_only(sheet: Sheet, tmp_path: Path) -> None:
    add(sheet, "a")
    with closing(sqlite3.connect(sheet.path / "journal.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        sheet.copy_to(tmp_path / "copy")
        other.execute("ROLLBACK")
    with Sheet.open(tmp_path / "copy") as copy:
        assert copy.state() == sheet.state()
