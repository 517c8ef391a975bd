"""The journal file: append-only for everyone, numbered migrations, and failures that say one line."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from errata.errors import BadSheet
from errata.journal import store
from errata.journal.events import Event, Recipe, Stamp, new_event
from errata.journal.store import Journal


def event(seq: int, **payload: Any) -> Event:
    return new_event(seq, "export", {"detail": payload}, Stamp(who="me@here"))


@pytest.fixture
def journal(tmp_path: Path):
    with closing(Journal.create(tmp_path / "journal.db")) as journal:
        with journal.writing():
            journal.append(event(1, note="ü"))
            journal.append(event(2))
        yield journal


def test_events_come_back_as_they_were(journal: Journal) -> None:
    recipe = Recipe("ft", {"lr": 0.1, "clip": float("inf"), "layers": [1, 2]}, seed=-(2**63))
    stamp = Stamp("ann@lab", {"torch": "2.11"}, {"loss": float("nan"), "seconds": 1.5})
    new = new_event(3, "apply", {"edits": []}, stamp, recipe)
    with journal.writing():
        journal.append(new)
    assert journal.events(after=2) == [new]
    assert new.payload["figures"] == {"loss": None, "seconds": 1.5}
    assert [event.seq for event in journal.events()] == [1, 2, 3]


def test_it_is_durable_and_in_wal_mode(journal: Journal) -> None:
    assert journal._pragma("synchronous") == 2  # FULL
    assert journal._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET who = 'x'",
        "DELETE FROM events WHERE seq = 2",
        "REPLACE INTO events SELECT 2, time, 'x', kind, method, config, seed, payload, versions FROM events",
        "INSERT INTO events SELECT 9, time, who, kind, method, config, seed, payload, versions FROM events",
    ],
)
def test_no_one_can_rewrite_the_past(journal: Journal, statement: str) -> None:
    before = journal.events()
    other = sqlite3.connect(journal.path)
    with closing(other), pytest.raises(sqlite3.IntegrityError, match="events are"):
        other.execute(statement)
    assert journal.events() == before


def test_an_exception_leaves_the_old_state(journal: Journal) -> None:
    def half() -> None:
        with journal.writing():
            journal.append(event(3))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half()
    assert len(journal.events()) == 2
    with journal.writing():
        journal.append(event(3))


def test_readers_do_not_wait_for_a_writer(journal: Journal) -> None:
    with journal.writing():
        journal.append(event(3))
        with closing(Journal.open(journal.path)) as reader:
            assert len(reader.events()) == 2


def test_a_second_writer_is_told_to_wait(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "BUSY_SECONDS", 0.05)
    held = pytest.raises(BadSheet, match="is held by another process; try again")
    with closing(Journal.open(journal.path)) as other, journal.writing(), held, other.writing():
        pass


def test_threads_take_turns(journal: Journal) -> None:
    def add() -> None:
        for _ in range(5):
            with journal.writing():
                journal.append(event(len(journal.events()) + 1))

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(journal.events()) == 22


def test_waiting_ends_when_another_has_recorded(journal: Journal) -> None:
    assert journal.wait(1, 0) is True
    assert journal.wait(2, 0.05) is False

    def record() -> None:
        with closing(Journal.open(journal.path)) as other, other.writing():
            other.append(event(3))

    later = threading.Timer(0.1, record)
    later.start()
    assert journal.wait(2, 30) is True
    later.join()


def test_an_older_journal_is_migrated_and_keeps_its_events(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MIGRATIONS", (*store.MIGRATIONS, ("CREATE TABLE notes (text TEXT)",)))
    with closing(Journal.open(journal.path)) as newer:
        assert newer._pragma("user_version") == 2
        assert newer.events() == journal.events()
        assert newer._connection.execute("SELECT count(*) FROM notes").fetchone() == (0,)


def test_a_migration_that_fails_leaves_the_old_format(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MIGRATIONS", (*store.MIGRATIONS, ("CREATE TABLE n (t TEXT)", "nonsense")))
    with pytest.raises(BadSheet):
        Journal.open(journal.path)
    monkeypatch.undo()
    with closing(Journal.open(journal.path)) as same:
        assert same._connection.execute("SELECT name FROM sqlite_master WHERE name = 'n'").fetchone() is None


def test_a_newer_journal_is_refused(journal: Journal) -> None:
    journal._connection.execute("PRAGMA user_version = 99")
    with pytest.raises(BadSheet, match=r"has format 99, newer .*; upgrade Errata$"):
        Journal.open(journal.path)


def test_a_full_disk_is_one_line_and_keeps_the_old_state(journal: Journal) -> None:
    pages = journal._pragma("page_count")
    journal._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(BadSheet, match=r"disk is full; free some space and try again$"), journal.writing():
        journal.append(event(3, note="x" * 100_000))
    assert len(journal.events()) == 2


def test_a_foreign_or_damaged_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with pytest.raises(BadSheet, match="cannot be opened"):
        Journal.open(path)
    path.write_bytes(b"not a database, but long enough to look at" * 40)
    with pytest.raises(BadSheet, match="damaged or not a journal; restore"):
        Journal.open(path)
    path.unlink()
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE songs (title TEXT)")
    with pytest.raises(BadSheet, match="damaged or not a journal; restore"):
        Journal.open(path)


def test_damaged_pages_and_rows_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with closing(Journal.create(path)) as journal, journal.writing():
        for seq in range(1, 60):
            journal.append(event(seq, note="x" * 500))
    whole = path.read_bytes()
    path.write_bytes(whole[:8192] + b"\xff" * (len(whole) - 8192))
    with closing(Journal.open(path)) as journal, pytest.raises(BadSheet, match="damaged"):
        journal.events()


def test_a_row_that_is_not_json_is_named(journal: Journal) -> None:
    journal._connection.execute(
        "INSERT INTO events SELECT 3, time, who, kind, '', '{', seed, payload, versions FROM events LIMIT 1"
    )
    with pytest.raises(BadSheet, match="event 3 of the journal cannot be read"):
        journal.events()


def test_a_closed_journal_says_so(journal: Journal) -> None:
    journal.close()
    with pytest.raises(BadSheet, match="was closed; open the sheet again"):
        journal.events()
