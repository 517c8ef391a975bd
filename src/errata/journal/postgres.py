"""The journal of a sheet in PostgreSQL, shared by replicas: append-only events, and the bytes of the patch files.

Knows tables, migrations, the lock of a sheet and notifications. Connections and their failures are in `database`, what
events mean in `history`; which directory gets the files is `sheet`'s.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from errata.durable import write_atomic
from errata.errors import BadSheet, WrongModel
from errata.journal.database import Address, Database
from errata.journal.events import COLUMNS, Event, PatchFile, from_row, to_row
from errata.journal.store import explained

PART_BYTES = 4 << 20  # of a patch file in one row: far below PostgreSQL's limit, and soon sent
LOOK_SECONDS = 0.5  # how often `wait` looks by itself: a pooler may lose a notification

_MIGRATION_LOCK = 0x45525254  # "ERRT"
_APPEND_ONLY = "BEGIN RAISE EXCEPTION 'events and patch files are append-only'; END"

# Entry n brings the tables from format n to n + 1. Published entries never change: add one.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # Asked first: CREATE SCHEMA IF NOT EXISTS needs a right that the owner of the schema may lack.
        """DO $$ BEGIN
            IF NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'errata') THEN CREATE SCHEMA errata; END IF;
        END $$""",
        "CREATE TABLE errata.format (version integer NOT NULL)",
        "INSERT INTO errata.format VALUES (0)",
        "CREATE TABLE errata.sheets (name text PRIMARY KEY, base text NOT NULL)",
        # JSON as text: jsonb refuses the infinities and the NUL characters that Python's JSON may hold.
        """CREATE TABLE errata.events (
            sheet    text NOT NULL REFERENCES errata.sheets,
            seq      bigint NOT NULL CHECK (seq > 0),
            time     text NOT NULL,
            who      text NOT NULL,
            kind     text NOT NULL,
            method   text,
            config   text NOT NULL,
            seed     bigint,
            payload  text NOT NULL,
            versions text NOT NULL,
            PRIMARY KEY (sheet, seq)
        )""",
        """CREATE TABLE errata.files (
            sha256 text NOT NULL,
            part   integer NOT NULL CHECK (part >= 0),
            data   bytea NOT NULL,
            PRIMARY KEY (sha256, part)
        )""",
        f"CREATE FUNCTION errata.stay() RETURNS trigger LANGUAGE plpgsql AS $$ {_APPEND_ONLY} $$",
        *(
            f"CREATE TRIGGER {table}_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON errata.{table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION errata.stay()"
            for table in ("sheets", "events", "files")
        ),
        """CREATE FUNCTION errata.follow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF NEW.seq <> (SELECT coalesce(max(seq), 0) + 1 FROM errata.events WHERE sheet = NEW.sheet) THEN
                RAISE EXCEPTION 'events are numbered without a gap';
            END IF;
            PERFORM pg_notify('errata_events', NEW.sheet);
            RETURN NEW;
        END $$""",
        """CREATE TRIGGER events_follow BEFORE INSERT ON errata.events
           FOR EACH ROW EXECUTE FUNCTION errata.follow()""",
    ),
)


class PostgresJournal:
    """One sheet's journal in a database. Safe to share between threads; any number may be open on it."""

    def __init__(self, address: Address, name: str) -> None:
        self.name = name
        self.shown = f"{address.shown}, sheet {name!r},"
        self.lock = threading.RLock()
        self._database = Database(address)
        self._listener = Database(address, greeting="LISTEN errata_events")
        self._listening = threading.Lock()
        self._closed = threading.Event()
        self._seen: Event | None = None

    @classmethod
    def open(cls, address: Address, name: str, base: Mapping[str, Any]) -> PostgresJournal:
        """The sheet `name`, which is made for the base model when it is new; so are the tables.

        Raises BadSheet when the database cannot be used or has a newer format, WrongModel when the sheet there is
        another model's.
        """
        journal = cls(address, name)
        try:
            journal._migrate()
            journal._register(base)
        except BaseException:
            journal.close()
            raise
        return journal

    def close(self) -> None:
        self._closed.set()
        with self.lock:
            self._database.close()
        with self._listening:  # who waits leaves within LOOK_SECONDS
            self._listener.close()

    def events(self, after: int = 0) -> list[Event]:
        """All events with seq > `after`, in order: one consistent snapshot that blocks no writer.

        Raises BadSheet when the event read last is no longer there, as in a database restored from an older copy.
        """
        with self.lock:
            seen = self._seen if self._seen is not None and self._seen.seq == after else None
            query = f"SELECT {', '.join(COLUMNS)} FROM errata.events WHERE sheet = %s AND seq >= %s ORDER BY seq"
            rows = self._database.run(query, (self.name, after if seen else after + 1))
            events = [from_row(row) for row in rows]
            if seen is not None:
                if events[:1] != [seen]:
                    raise BadSheet(f"{self.shown} lost event {after}, it was set back to a copy; open the sheet again")
                del events[0]
            if events:
                self._seen = events[-1]
            return events

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Holds the write lock of all replicas. Commits at the end; any exception leaves the old state."""
        with self.lock:
            try:
                with self._database.transaction():
                    self._database.run("SELECT 1 FROM errata.sheets WHERE name = %s FOR UPDATE", (self.name,))
                    yield
            except BaseException:
                self._seen = None  # it may be of the transaction that was taken back
                raise

    def append(self, event: Event) -> None:
        """Adds the event that follows the last one. Only inside `writing`; replicas hear of it at the commit."""
        marks = ", ".join(["%s"] * (len(COLUMNS) + 1))
        self._database.run(
            f"INSERT INTO errata.events (sheet, {', '.join(COLUMNS)}) VALUES ({marks})",
            (self.name, *to_row(event).values()),
        )

    def keep(self, file: PatchFile, path: Path) -> None:
        """Stores a patch file's bytes. Only inside `writing`. Raises BadSheet when they are not what `file` says."""
        with explained(path), path.open("rb") as stream:
            if self._part(file, 0) is not None:
                return
            digest = hashlib.sha256()
            for part in count():
                data = stream.read(PART_BYTES)
                if part and not data:
                    break
                digest.update(data)
                self._database.run(
                    "INSERT INTO errata.files VALUES (%s, %s, %s) ON CONFLICT DO NOTHING", (file.sha256, part, data)
                )
            if digest.hexdigest() != file.sha256:
                raise BadSheet(f"{path} is not what was to be recorded (its checksum differs); make it again")

    def fetch(self, file: PatchFile, path: Path) -> None:
        """Writes a stored patch file to `path`; does nothing when it is not stored."""
        parts: list[bytes] = []
        with self.lock:
            while (data := self._part(file, len(parts))) is not None:
                parts.append(data)
        if not parts:
            return
        whole = b"".join(parts)
        if hashlib.sha256(whole).hexdigest() != file.sha256:
            raise BadSheet(f"{self.shown} holds other bytes of {file.name} than were recorded; restore it from a copy")
        with explained(path):
            write_atomic(path, whole)

    def wait(self, after: int, seconds: float) -> bool:
        """Whether there is an event with seq > `after`; waits for one up to `seconds`, on a connection of its own.

        False when the journal was closed meanwhile. Raises BadSheet at once when the database cannot be reached.
        """
        deadline = time.monotonic() + seconds
        query = "SELECT EXISTS (SELECT 1 FROM errata.events WHERE sheet = %s AND seq > %s)"
        with self._listening:
            # Listening begins before the look: what is recorded between the two is heard.
            while not self._listener.run(query, (self.name, after))[0][0]:
                left = deadline - time.monotonic()
                if left <= 0 or self._closed.is_set():
                    return False
                self._listener.listen(min(left, LOOK_SECONDS))
            return True

    def _part(self, file: PatchFile, part: int) -> bytes | None:
        query = "SELECT data FROM errata.files WHERE sha256 = %s AND part = %s"
        rows = self._database.run(query, (file.sha256, part))
        return bytes(rows[0][0]) if rows else None

    def _register(self, base: Mapping[str, Any]) -> None:
        query = "SELECT base FROM errata.sheets WHERE name = %s"
        if not (found := self._database.run(query, (self.name,))):
            values = (self.name, json.dumps(dict(base)))
            self._database.run("INSERT INTO errata.sheets VALUES (%s, %s) ON CONFLICT DO NOTHING", values)
            found = self._database.run(query, (self.name,))
        theirs = json.loads(found[0][0])
        if any(theirs[key] != base[key] for key in ("fingerprint", "task")):
            raise WrongModel(
                f"{self.shown} is of {theirs['name']} ({theirs['fingerprint'][:12]}), and the model given is "
                f"{base['name']} ({base['fingerprint'][:12]}); name another sheet: ?sheet=name in the journal's URL"
            )
        if theirs.get("chat", False) != base.get("chat", False):
            form = ("plain text", "user messages")[theirs.get("chat", False)]
            raise WrongModel(f"the prompts of {self.shown} are {form}; open it with chat={theirs.get('chat', False)}")

    def _migrate(self) -> None:
        found = self._format()
        if found > len(MIGRATIONS):
            newer = f"{self._database.address.shown} has format {found}, newer than the {len(MIGRATIONS)}"
            raise BadSheet(f"{newer} this Errata reads; upgrade Errata")
        if found == len(MIGRATIONS):
            return
        with self._database.transaction():
            self._database.run(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
            # Read again under the lock: another process may have migrated meanwhile.
            for version in range(self._format(), len(MIGRATIONS)):
                for statement in MIGRATIONS[version]:
                    self._database.run(statement)
                self._database.run("UPDATE errata.format SET version = %s", (version + 1,))

    def _format(self) -> int:
        # Not to_regclass, which may look into a cache from before the lock was waited for.
        if not self._database.run("SELECT 1 FROM pg_tables WHERE schemaname = 'errata' AND tablename = 'format'"):
            return 0
        return self._database.run("SELECT version FROM errata.format")[0][0]
