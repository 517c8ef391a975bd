"""The sheet directory: recording, reopening and one-line failures."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from errata.errors import BadConfig, BadEdit, BadSheet, UnknownName
from errata.journal.events import Outcome, PatchFile, Recipe, Stamp
from errata.sheet import Sheet
from sheets import BASE, GRACE, add, change, statuses, write_patch


@pytest.fixture
def sheet(tmp_path: Path) -> Iterator[Sheet]:
    with Sheet.create(tmp_path / "sheet", BASE) as sheet:
        yield sheet


def test_a_new_sheet_is_empty_and_knows_its_model(sheet: Sheet) -> None:
    assert (sheet.base, sheet.events(), sheet.next_ids(2)) == (BASE, [], ("e1", "e2"))
    assert sorted(os.listdir(sheet.path.parent)) == ["sheet"]
    content = json.loads((sheet.path / "sheet.json").read_text())
    assert content == {"format": 1, "base": BASE}


def test_what_was_recorded_is_there_after_reopening(sheet: Sheet) -> None:
    stamp = Stamp("ann@lab", {"torch": "2.11"}, {"seconds": 2.5, "loss": float("inf")})
    outcomes = [
        Outcome("e1", {"prompt": "a", "target": "b", "subject": "a"}),
        Outcome("e2", {"prompt": "c", "target": "d"}, failed="loss stayed above 1"),
    ]
    file = write_patch(sheet, "1.safetensors")
    assert sheet.record_apply(outcomes, GRACE, expect_head=0, patch=file, stamp=stamp) == 1
    sheet.close()
    with Sheet.open(sheet.path) as again:
        (event,) = again.events()
        state = again.state()
        again.verify()
    assert (event.kind, event.who, event.method, event.seed) == ("apply", "ann@lab", "grace", 3)
    assert (dict(event.config), dict(event.versions)) == ({"radius": 1.0}, {"torch": "2.11"})
    assert event.payload["figures"] == {"seconds": 2.5, "loss": None}
    assert dict(state.edits["e1"].edit) == {"prompt": "a", "target": "b", "subject": "a"}
    assert (state.edits["e2"].status, state.edits["e2"].reason) == ("failed", "loss stayed above 1")
    assert state.units[0].patch == file
    assert state.next_ids(1) == ("e3",)


def test_who_and_time_are_filled_in(sheet: Sheet) -> None:
    add(sheet, "a")
    (event,) = sheet.events()
    assert "@" in event.who
    assert event.time.endswith("+00:00")


def test_undo_and_redo_are_recorded_only_when_they_change_something(sheet: Sheet) -> None:
    add(sheet, "a", "b")
    done = change(sheet, "undo", "e1")
    assert (done.seq, done.ids, [unit.active for unit in done.units]) == (2, ("e1",), [("e2",)])
    again = change(sheet, "undo", "e1")
    assert (again.seq, dict(again.unchanged)) == (None, {"e1": "undone"})
    assert len(sheet.events()) == 2
    assert change(sheet, "redo", "e1").seq == 3
    assert change(sheet, "redo", "e1").seq is None
    assert statuses(sheet) == {"e1": "active", "e2": "active"}


def test_a_failed_edit_is_left_alone_and_an_unknown_one_is_named(sheet: Sheet) -> None:
    failed = [Outcome("e1", {"prompt": "a", "target": "t"}, "no")]
    sheet.record_apply(failed, GRACE, expect_head=0)
    assert dict(change(sheet, "undo", "e1").unchanged) == {"e1": "failed"}
    assert dict(change(sheet, "redo", "e1").unchanged) == {"e1": "failed"}
    with pytest.raises(UnknownName, match=r"no edit 'e11' .*Did you mean 'e1'\?"):
        change(sheet, "undo", "e11")
    assert len(sheet.events()) == 1


def test_a_refit_gives_the_unit_its_new_file_and_redo_the_old_one(sheet: Sheet) -> None:
    add(sheet, "a", "b")
    original = sheet.state().unit(1).patch
    refit = write_patch(sheet, "1-without-e1.safetensors", b"refit")
    done = change(sheet, "undo", "e1", replaced={1: refit})
    assert [unit.patch for unit in done.units] == [refit]
    done = change(sheet, "redo", "e1", replaced={1: original})
    assert done.after.unit(1).patch == sheet.state().unit(1).patch == original
    sheet.verify()


def test_an_apply_can_extend_a_unit(sheet: Sheet) -> None:
    add(sheet, "a")
    add(sheet, "b", joins=1)
    (unit,) = sheet.state().units
    assert (unit.edits, unit.patch.name) == (("e1", "e2"), "2.safetensors")


def test_an_export_is_in_the_log_and_changes_no_state(sheet: Sheet) -> None:
    add(sheet, "a")
    before = sheet.state()
    assert sheet.record_export({"format": "lora", "path": "out"}, expect_head=1) == 2
    assert sheet.events(after=1)[0].payload["detail"] == {"format": "lora", "path": "out"}
    assert (sheet.state().edits, sheet.state().units) == (before.edits, before.units)


def test_a_writer_that_saw_an_older_state_is_refused(sheet: Sheet) -> None:
    with Sheet.open(sheet.path) as other:
        add(other, "a")
        file = write_patch(sheet, "mine.safetensors")
        mine = [Outcome("e1", {"prompt": "b", "target": "t"})]
        with pytest.raises(BadSheet, match="another process changed this sheet; open it again"):
            sheet.record_apply(mine, GRACE, expect_head=0, patch=file)
        with pytest.raises(BadSheet, match="another process"):
            sheet.record_change("undo", ["e1"], expect_head=0)
        with pytest.raises(BadSheet, match="another process"):
            sheet.record_export({}, expect_head=0)
        assert statuses(sheet) == statuses(other) == {"e1": "active"}


GOOD = Outcome("e1", {"prompt": "a", "target": "t"})


@pytest.mark.parametrize(
    ("outcomes", "more", "error", "message"),
    [
        ([GOOD, GOOD], {}, BadEdit, "'e1' is taken"),
        ([GOOD], {"patch": None}, BadSheet, "if and only if"),
        ([], {}, BadSheet, "if and only if"),
        ([GOOD], {"joins": 4}, BadSheet, "no unit 4"),
        ([GOOD], {"replaced": {4: PatchFile("1.safetensors", "0")}}, BadSheet, "no unit 4"),
        ([GOOD], {"patch": PatchFile("nowhere", "0")}, BadSheet, "nowhere is missing"),
        ([GOOD], {"patch": PatchFile("../sheet.json", "0")}, BadSheet, "no plain file name"),
        ([Outcome("e1", {})], {}, BadSheet, "cannot be read"),
    ],
)
def test_what_makes_no_sense_is_not_recorded(
    sheet: Sheet, outcomes: list[Outcome], more: dict[str, Any], error: type[Exception], message: str
) -> None:
    more = {"patch": write_patch(sheet, "1.safetensors")} | more
    with pytest.raises(error, match=message):
        sheet.record_apply(outcomes, GRACE, expect_head=0, **more)
    assert sheet.events() == []


def test_a_seed_must_fit_the_journal() -> None:
    with pytest.raises(BadConfig, match="64-bit"):
        Recipe("ft", {}, seed=2**63)


def test_a_file_name_is_never_used_for_other_bytes(sheet: Sheet) -> None:
    add(sheet, "a")
    with pytest.raises(BadSheet, match="recorded with another checksum"):
        change(sheet, "undo", "e1", replaced={1: PatchFile("1.safetensors", "0" * 64)})


def test_verify_finds_missing_and_changed_files(sheet: Sheet) -> None:
    add(sheet, "a")
    sheet.verify()
    (sheet.patches / "1.safetensors").write_bytes(b"tampered")
    with pytest.raises(BadSheet, match="not what was recorded"):
        sheet.verify()
    (sheet.patches / "1.safetensors").unlink()
    with pytest.raises(BadSheet, match="missing; restore"):
        sheet.verify()
    with pytest.raises(BadSheet, match="missing; restore"):
        Sheet.open(sheet.path)


def test_create_refuses_what_is_there_and_a_base_without_names(sheet: Sheet, tmp_path: Path) -> None:
    with pytest.raises(BadSheet, match="holds files already; choose an empty directory"):
        Sheet.create(sheet.path, BASE)
    (tmp_path / "file").touch()
    with pytest.raises(BadSheet, match="not a directory"):
        Sheet.create(tmp_path / "file", BASE)
    with pytest.raises(BadSheet, match="no 'task'"):
        Sheet.create(tmp_path / "new", {"name": "m", "fingerprint": "f"})
    assert sorted(os.listdir(tmp_path)) == ["file", "sheet"]


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda path: shutil.rmtree(path), "no errata sheet"),
        (lambda path: (path / "sheet.json").unlink(), "no errata sheet"),
        (lambda path: (path / "sheet.json").write_text("{"), "sheet.json is damaged"),
        (lambda path: (path / "sheet.json").write_text('{"format": 2, "base": {}}'), "upgrade Errata"),
        (lambda path: (path / "sheet.json").write_text('{"format": 1, "base": {}}'), "no 'name'"),
        (lambda path: (path / "journal.db").unlink(), "journal.db cannot be opened"),
        (lambda path: (path / "journal.db").write_bytes(b"x" * 5000), "damaged or not a journal"),
        (lambda path: (path / "journal.db").write_bytes(b""), "damaged or not a journal"),
        (lambda path: (path / "patches" / "1.safetensors").unlink(), "1.safetensors is missing"),
    ],
)
def test_a_broken_sheet_is_one_line(sheet: Sheet, break_it: Callable[[Path], object], message: str) -> None:
    add(sheet, "a")
    sheet.close()
    break_it(sheet.path)
    with pytest.raises(BadSheet, match=message) as failure:
        Sheet.open(sheet.path)
    assert "\n" not in str(failure.value)


def test_a_sheet_that_lost_its_empty_patches_directory_opens(sheet: Sheet) -> None:
    sheet.patches.rmdir()
    with Sheet.open(sheet.path) as again:
        add(again, "a")


def test_many_sheets_may_be_open_at_once(sheet: Sheet) -> None:
    others = [Sheet.open(sheet.path) for _ in range(20)]
    for other in others:
        add(other, "a")
    assert [len(other.state().edits) for other in others] == [20] * 20
    for other in others:
        other.close()


def failure_as_nobody(call: Callable[[], object]) -> str:
    """The BadSheet message of `call` in a child without root's rights, which ignore permissions."""
    with tempfile.TemporaryFile() as report:
        child = os.fork()
        if child == 0:
            if os.geteuid() == 0:
                os.setuid(65534)
            try:
                call()
            except BadSheet as error:
                os.write(report.fileno(), str(error).encode())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        report.seek(0)
        return report.read().decode()


def test_a_read_only_directory_is_one_line() -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        with Sheet.create(root / "sheet", BASE) as sheet:
            add(sheet, "a")
        for path in [root, root / "sheet", root / "sheet" / "patches"]:
            path.chmod(0o555)
        (root / "sheet" / "journal.db").chmod(0o444)
        opening = failure_as_nobody(lambda: add(Sheet.open(root / "sheet"), "b"))
        creating = failure_as_nobody(lambda: Sheet.create(root / "new", BASE))
        root.chmod(0o755)
        (root / "sheet").chmod(0o755)
        (root / "sheet" / "patches").chmod(0o755)
    for message in (opening, creating):
        assert message.endswith("cannot be written; check the owner and permissions of the directory")
