"""A database that fails: what it costs is one line, and never an edit that was acknowledged."""

from __future__ import annotations

import builtins
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cluster import Cluster, event, execute, opened, together
from errata.errors import BadConfig, BadSheet
from errata.journal import database, postgres
from errata.journal.database import Address
from errata.journal.events import Outcome
from errata.journal.postgres import PostgresJournal
from errata.sheet import Sheet
from sheets import BASE, GRACE, add, change, statuses, write_patch


def backend(journal: PostgresJournal) -> int:
    return journal._database.run("SELECT pg_backend_pid()")[0][0]


def test_a_connection_that_was_cut_while_idle_goes_unnoticed(replicas: tuple[Sheet, Sheet], url: str) -> None:
    one, two = replicas
    add(one, "a")
    execute(url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'errata'")
    add(one, "b")
    assert two.wait(5) is True
    assert statuses(two) == {"e1": "active", "e2": "active"}


@pytest.mark.parametrize("cut_after", ["lock", "append"])
def test_a_connection_cut_while_recording_leaves_nothing(journal: PostgresJournal, url: str, cut_after: str) -> None:
    process = backend(journal)

    def record() -> None:
        with journal.writing():
            if cut_after == "append":
                journal.append(event(3))
            execute(url, "SELECT pg_terminate_backend(%s, 5000)", process)
            if cut_after == "lock":
                journal.append(event(3))

    message = "while recording: read the log" if cut_after == "append" else "is going down|cannot be reached"
    with pytest.raises(BadSheet, match=message):
        record()
    assert len(journal.events()) == 2
    with journal.writing():
        journal.append(event(3))


def test_a_database_that_is_mute_is_left_after_a_while(
    server: Cluster, journal: PostgresJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(database, "CONNECT_SECONDS", 2)
    started = time.monotonic()
    with server.frozen(backend(journal)):
        assert len(journal.events()) == 2  # over a new connection
        with server.frozen(server.postmaster(), backend(journal)), pytest.raises(BadSheet, match="cannot be reached"):
            journal.events()
    assert time.monotonic() - started < 20
    assert len(journal.events()) == 2


def test_a_slow_statement_is_given_up(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "ANSWER_SECONDS", 0.2)
    with closing(opened(url)) as journal, pytest.raises(BadSheet, match=r"did not answer in 0\.2 s"):
        journal._database.run("SELECT pg_sleep(30)")


def test_stopped_and_started_again_while_a_sheet_is_open(server: Cluster, replicas: tuple[Sheet, Sheet]) -> None:
    one, two = replicas
    add(one, "a")
    two.state()
    server.stop()
    try:
        for call in (one.state, one.events, lambda: two.wait(5), lambda: change(one, "undo", "e1")):
            with pytest.raises(BadSheet, match=r"cannot be reached .*; check its URL and that it runs") as failure:
                call()
            assert "\n" not in str(failure.value)
    finally:
        server.start()
    change(one, "undo", "e1")
    assert two.wait(5) is True
    assert statuses(two) == {"e1": "undone"}


def test_a_killed_database_loses_nothing_that_was_acknowledged(server: Cluster, url: str, tmp_path: Path) -> None:
    acknowledged: list[tuple[int, str]] = []
    stop = threading.Event()

    def write() -> None:
        with Sheet.create(tmp_path / "writer", BASE, url) as sheet:
            number = 0
            while not stop.is_set():
                number += 1
                try:
                    head = sheet.state().head
                    file = write_patch(sheet, f"{number}.bin", os.urandom(200_000))
                    outcome = Outcome(f"n{number}", {"prompt": f"{number}", "target": "t"})
                    seq = sheet.record_apply([outcome], GRACE, expect_head=head, patch=file)
                    acknowledged.append((seq, outcome.id))
                except BadSheet:
                    time.sleep(0.05)

    def kill() -> None:
        try:
            for wait in (0.08, 0.03, 0.05):
                enough = len(acknowledged) + 3
                until = time.monotonic() + 30
                while len(acknowledged) < enough and time.monotonic() < until:
                    time.sleep(0.01)
                time.sleep(wait)
                server.kill()
                server.start()
        finally:
            stop.set()

    assert together(write, kill) == [None, None]
    with Sheet.create(tmp_path / "reader", BASE, url) as reader:
        events = reader.events()
        recorded = [(event.seq, event.payload["edits"][0]["id"]) for event in events]
        assert len(acknowledged) >= 9
        assert set(acknowledged) <= set(recorded)
        assert len(recorded) <= len(acknowledged) + 3  # one for each kill: recorded, and the answer lost
        assert [seq for seq, _ in recorded] == list(range(1, len(recorded) + 1))
        reader.verify()


def test_a_database_set_back_to_an_older_copy_is_noticed(replicas: tuple[Sheet, Sheet], url: str) -> None:
    one, two = replicas
    add(one, "a")
    add(one, "b")
    assert two.state().head == 2
    execute(url, "ALTER TABLE errata.events DISABLE TRIGGER events_stay")
    try:
        execute(url, "DELETE FROM errata.events WHERE seq = 2 AND sheet = %s", Address.parse(url).sheet)
    finally:
        execute(url, "ALTER TABLE errata.events ENABLE TRIGGER events_stay")
    for _ in range(2):
        with pytest.raises(BadSheet, match="lost event 2, it was set back to a copy; open the sheet again"):
            two.state()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("postgresql://ann:s3cret@127.0.0.1:1/errata?sheet=x", BadSheet),
        ("postgresql://127.0.0.1:1/errata?user=ann&password=s3cret", BadSheet),
        ("postgresql://ann:s3cret@127.0.0.1:port/errata", BadSheet),
        ("postgresql://ann:s3cret@[::1/errata", BadConfig),
        ("postgresql://ann:s3cret@localhost/errata?nonsense=1", BadConfig),
        ("postgresql://ann:s3cret@localhost/errata?sheet=", BadConfig),
        ("mysql://ann:s3cret@localhost/errata", BadConfig),
    ],
)
def test_no_message_shows_a_password(text: str, error: type[Exception], tmp_path: Path) -> None:
    with pytest.raises(error) as failure:
        Sheet.create(tmp_path / "sheet", BASE, text)
    assert "\n" not in str(failure.value)
    assert "s3cret" not in "".join(traceback.format_exception(failure.value))
    assert not (tmp_path / "sheet").exists()


def test_an_address_hides_its_password_and_keeps_the_sheet_to_itself() -> None:
    address = Address.parse("postgresql://ann:s3cret@db.example:5433/errata?sslmode=require&sheet=my%20sheet")
    assert (address.shown, address.sheet) == ("database 'errata' on db.example:5433", "my sheet")
    assert address.conninfo == "postgresql://ann:s3cret@db.example:5433/errata?sslmode=require"
    assert "s3cret" not in repr(address)


def test_a_missing_library_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "psycopg"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", _without_psycopg(builtins.__import__))
    with pytest.raises(BadConfig, match=r"pip install 'errata\[postgres\]'$"):
        Sheet.create(tmp_path / "sheet", BASE, "postgresql://localhost/errata")


def _without_psycopg(load: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(name: str, *more: Any, **named: Any) -> Any:
        if name.partition(".")[0] == "psycopg":
            raise ImportError(name)
        return load(name, *more, **named)

    return guarded


def test_replicas_that_come_first_at_once_make_the_tables_once(fresh: str) -> None:
    assert together(*(lambda: opened(fresh).close() for _ in range(4))) == [None] * 4
    assert execute(fresh, "SELECT version FROM errata.format") == [(1,)]
    assert execute(fresh, "SELECT name FROM errata.sheets") == [("sheet",)]


def test_formats_are_migrated_or_refused(fresh: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(opened(fresh)) as journal, journal.writing():
        journal.append(event(1))
    more = ("CREATE TABLE errata.notes (text text)",)
    monkeypatch.setattr(postgres, "MIGRATIONS", (*postgres.MIGRATIONS, (*more, "nonsense")))
    with pytest.raises(BadSheet, match="cannot be used"):
        opened(fresh)
    assert execute(fresh, "SELECT version, to_regclass('errata.notes') FROM errata.format") == [(1, None)]
    monkeypatch.setattr(postgres, "MIGRATIONS", (*postgres.MIGRATIONS[:1], more))
    with closing(opened(fresh)) as journal:
        assert len(journal.events()) == 1
    monkeypatch.undo()
    with pytest.raises(BadSheet, match=r"has format 2, newer than the 1 this Errata reads; upgrade Errata$"):
        opened(fresh)


def test_a_user_without_rights_is_told(fresh: str) -> None:
    opened(fresh).close()
    execute(fresh, "CREATE ROLE guest LOGIN")
    with pytest.raises(BadSheet, match=r"does not give this user the rights .*permission denied"):
        opened(fresh.replace("user=tester", "user=guest"))


def test_a_database_that_is_not_there_is_one_line(server: Cluster) -> None:
    with pytest.raises(BadSheet, match=r'cannot be reached .*database "nowhere" does not exist') as failure:
        opened(server.url("nowhere"))
    assert "\n" not in str(failure.value)
