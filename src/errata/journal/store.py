"""The journal: an append-only table of events in one SQLite file that survives `kill -9` and power loss.

Knows transactions, migrations and how to say a database failure in one line. What events mean is in
`history`; where the journal lies and which files belong to it is in `sheet`.
"""

from __future__ import annotations

import errno
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from errata.errors import BadSheet
from errata.journal.events import COLUMNS, Event, PatchFile, from_row, to_row

APPLICATION_ID = 0x45525254  # "ERRT" in the file's header: tells a journal from any other SQLite file
BUSY_SECONDS = 10.0
POLL_SECONDS = 0.25  # how often `wait` looks: SQLite tells no other process of a commit

# Entry n brings a journal from format n to n + 1. Published entries never change: add one.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        f"PRAGMA application_id = {APPLICATION_ID}",
        """CREATE TABLE events (
            seq      INTEGER PRIMARY KEY CHECK (seq > 0),
            time     TEXT NOT NULL,
            who      TEXT NOT NULL,
            kind     TEXT NOT NULL,
            method   TEXT,
            config   TEXT NOT NULL,
            seed     INTEGER,
            payload  TEXT NOT NULL,
            versions TEXT NOT NULL
        )""",
        """CREATE TRIGGER events_stay BEFORE UPDATE ON events
           BEGIN SELECT RAISE(ABORT, 'events are append-only'); END""",
        """CREATE TRIGGER events_are_kept BEFORE DELETE ON events
           BEGIN SELECT RAISE(ABORT, 'events are append-only'); END""",
        # Also what stops INSERT OR REPLACE, whose deletion fires no trigger.
        """CREATE TRIGGER events_follow BEFORE INSERT ON events
           WHEN NEW.seq <> (SELECT coalesce(max(seq), 0) + 1 FROM events)
           BEGIN SELECT RAISE(ABORT, 'events are numbered without a gap'); END""",
    ),
)

_DAMAGED = "is damaged or not a journal; restore the sheet from a copy"
_READ_ONLY = "cannot be written; check the owner and permissions of the directory"
_SQLITE_ADVICE = {
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; check that it exists and that its directory can be written",
    sqlite3.SQLITE_PERM: _READ_ONLY,
    sqlite3.SQLITE_FULL: "cannot grow, the disk is full; free some space and try again",
    sqlite3.SQLITE_IOERR: "cannot be read or written, the disk fails or is full; check it and try again",
    sqlite3.SQLITE_BUSY: "is held by another process; try again when that has finished",
    sqlite3.SQLITE_LOCKED: "is held by another process; try again when that has finished",
}
_OS_ADVICE = {
    errno.ENOENT: "is missing; restore the sheet from a copy",
    errno.ENOTDIR: "is not a directory; choose another path",
    errno.EACCES: _READ_ONLY,
    errno.EPERM: _READ_ONLY,
    errno.EROFS: _READ_ONLY,
    errno.ENOSPC: _SQLITE_ADVICE[sqlite3.SQLITE_FULL],
    errno.EDQUOT: _SQLITE_ADVICE[sqlite3.SQLITE_FULL],
    errno.ENOTEMPTY: "holds files already; choose an empty directory",
    errno.EEXIST: "holds files already; choose an empty directory",
}


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns failures of the disk and of SQLite inside the block into BadSheet, one line naming the path."""
    try:
        yield
    except sqlite3.ProgrammingError as error:
        raise BadSheet(f"{path} was closed; open the sheet again ({error})") from error
    except sqlite3.Error as error:
        # The module's own errors (text that is not UTF-8, say) carry no code of SQLite.
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
        raise BadSheet(f"{path} {_SQLITE_ADVICE.get(code, f'cannot be used: {error}')}") from error
    except OSError as error:
        advice = _OS_ADVICE.get(error.errno or 0, f"cannot be used: {error.strerror or error}")
        raise BadSheet(f"{error.filename2 or error.filename or path} {advice}") from error


class Journal:
    """One connection to one journal file. Safe to share between threads; any number may be open on a file."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self.lock = threading.RLock()
        self._connection = connection

    @classmethod
    def create(cls, path: Path) -> Journal:
        """A new, empty journal. The caller moves its directory into place when all of it is written."""
        with explained(path):
            journal = cls(path, _connect(path, "rwc"))
            with _closed_on_error(journal):
                journal._connection.execute("PRAGMA journal_mode = WAL")
                journal._migrate()
            return journal

    @classmethod
    def open(cls, path: Path) -> Journal:
        """Raises BadSheet when the file is missing, damaged, not a journal or of a newer format."""
        with explained(path):
            journal = cls(path, _connect(path, "rw"))
            with _closed_on_error(journal):
                if journal._pragma("application_id") != APPLICATION_ID:
                    raise BadSheet(f"{path} {_DAMAGED}")
                journal._migrate()
            return journal

    def close(self) -> None:
        with self.lock:
            self._connection.close()

    def events(self, after: int = 0) -> list[Event]:
        """All events with seq > `after`, in order: one consistent snapshot that blocks no writer."""
        with self.lock, explained(self.path):
            query = f"SELECT {', '.join(COLUMNS)} FROM events WHERE seq > ? ORDER BY seq"
            return [from_row(row) for row in self._connection.execute(query, (after,))]

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Holds the write lock of all processes. Commits at the end; any exception leaves the old state."""
        with self.lock, explained(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def append(self, event: Event) -> None:
        """Adds the event that follows the last one. Only inside `writing`."""
        values = ", ".join(f":{name}" for name in COLUMNS)
        self._connection.execute(f"INSERT INTO events ({', '.join(COLUMNS)}) VALUES ({values})", to_row(event))

    def keep(self, file: PatchFile, path: Path) -> None:
        """Nothing: the sheet's directory is where patch files are kept."""

    def fetch(self, file: PatchFile, path: Path) -> None:
        """Nothing: a file that is not in the sheet's directory is nowhere else."""

    def wait(self, after: int, seconds: float) -> bool:
        """Whether there is an event with seq > `after`; waits for one up to `seconds`."""
        deadline = time.monotonic() + seconds
        while not self._grown(after):
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(left, POLL_SECONDS))
        return True

    def _grown(self, after: int) -> bool:
        with self.lock, explained(self.path):
            query = "SELECT EXISTS (SELECT 1 FROM events WHERE seq > ?)"
            return bool(self._connection.execute(query, (after,)).fetchone()[0])

    def _pragma(self, name: str) -> int:
        return self._connection.execute(f"PRAGMA {name}").fetchone()[0]

    def _migrate(self) -> None:
        found = self._pragma("user_version")
        if found > len(MIGRATIONS):
            newer = f"{self.path} has format {found}, newer than the {len(MIGRATIONS)} this Errata reads"
            raise BadSheet(f"{newer}; upgrade Errata")
        if found == len(MIGRATIONS):
            return
        with self.writing():
            # Read again under the lock: another process may have migrated meanwhile.
            for version in range(self._pragma("user_version"), len(MIGRATIONS)):
                for statement in MIGRATIONS[version]:
                    self._connection.execute(statement)
                self._connection.execute(f"PRAGMA user_version = {version + 1}")


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,  # transactions are begun here and nowhere behind our back
        check_same_thread=False,  # Journal.lock orders the threads
    )
    try:
        connection.execute("PRAGMA synchronous = FULL")
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def _closed_on_error(journal: Journal) -> Iterator[None]:
    try:
        yield
    except BaseException:
        journal.close()
        raise
