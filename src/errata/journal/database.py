"""One connection to a PostgreSQL database: made when first needed, made anew when lost, never waited on for ever.

Knows addresses, time limits, transactions and how to say a database failure in one line without a password. It
knows nothing of journals.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from errata.errors import BadConfig, BadSheet

if TYPE_CHECKING:
    import psycopg

CONNECT_SECONDS = 5  # for each host of the URL
BUSY_SECONDS = 10.0  # for another writer to finish
ANSWER_SECONDS = 20.0  # for one statement, which moves a few megabytes at most
IDLE_SECONDS = 60.0  # a writer that stands still this long in a transaction loses it, and with it the lock

SCHEMES = ("postgresql://", "postgres://")
EXAMPLE = "postgresql://user@host/database?sheet=name"

# Commits reach the disk; an operator's stricter setting (a synchronous standby) stays as it is.
_SETTINGS = b"""
    SELECT set_config('statement_timeout', %s, false), set_config('lock_timeout', %s, false),
           set_config('idle_in_transaction_session_timeout', %s, false),
           set_config('synchronous_commit', CASE old WHEN 'off' THEN 'on' ELSE old END, false)
    FROM current_setting('synchronous_commit') AS old
"""

# By SQLSTATE, or by its class: the first two characters.
_ADVICE = {
    "08": "cannot be reached ({reason}); check its URL and that it runs, then try again",
    "53": "is out of room or connections ({reason}); make room and try again",
    "57014": "did not answer in {answer:g} s; look at its load and try again",
    "57": "is going down or starting ({reason}); try again when it is up",
    "55P03": "is held by another process; try again when that has finished",
    "25006": "is a read-only replica; name its primary",
    "25P03": "ended a transaction that stood still; try again",
    "28": "refuses this user ({reason}); check user and password",
    "3D": "does not exist ({reason}); create it first",
    "42501": "does not give this user the rights ({reason}); let the owner grant them",
    "23": "refuses what another process recorded first ({reason}); open the sheet again",
}


@dataclass(frozen=True, slots=True)
class Address:
    """A database, and the sheet in it when the URL names one (`?sheet=name`, which libpq never sees)."""

    conninfo: str = field(repr=False)
    password: str = field(repr=False)
    shown: str
    sheet: str | None

    @classmethod
    def parse(cls, url: str) -> Address:
        """Raises BadConfig for what is no PostgreSQL URL, and when psycopg is not installed."""
        if not url.startswith(SCHEMES):
            raise BadConfig(f"a journal's URL starts with {' or '.join(SCHEMES)}; write {EXAMPLE}")
        psycopg = _psycopg()
        place, _, query = url.partition("?")
        options = [option for option in query.split("&") if option]
        ours = [option for option in options if option.startswith("sheet=")]
        rest = "&".join(option for option in options if option not in ours)
        conninfo = f"{place}?{rest}" if rest else place
        try:
            parts = psycopg.conninfo.conninfo_to_dict(conninfo)
        except psycopg.Error:  # its text may quote the password
            raise BadConfig(f"this journal's URL cannot be read; write {EXAMPLE}") from None
        sheet = unquote(ours[-1].removeprefix("sheet=")) if ours else None
        if sheet == "":
            raise BadConfig(f"this journal's URL names no sheet after sheet=; write {EXAMPLE}")
        return cls(conninfo, str(parts.get("password") or ""), _shown(parts), sheet)


def _shown(parts: dict[str, Any]) -> str:
    host = parts.get("host") or parts.get("hostaddr") or "this machine"
    port = f":{parts['port']}" if parts.get("port") else ""
    return f"database {str(parts.get('dbname') or parts.get('user') or '')!r} on {host}{port}"


def _psycopg() -> Any:
    try:
        import psycopg
    except ImportError:
        raise BadConfig(
            "a journal in PostgreSQL needs the library `psycopg`; install it with: pip install 'errata[postgres]'"
        ) from None
    return psycopg


class Database:
    """One thread at a time: the caller orders them. `greeting` runs on every new connection."""

    def __init__(self, address: Address, greeting: str | None = None) -> None:
        self.address = address
        self._greeting = greeting
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None
        self._line: socket.socket | None = None
        self._inside = self._closed = False

    def run(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows of one statement. Outside a transaction it must be one that may run twice: when the connection
        turns out to be lost since its last use, it is made anew and the statement tried again. Raises BadSheet.
        """
        used = self._connection is not None
        try:
            return self._answer(statement, values)
        except BadSheet:
            if self._inside or self._connection is not None or not used:
                raise
        return self._answer(statement, values)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commits at the end, to the disk; any exception leaves the old state."""
        # Read committed: what comes after a lock that was waited for sees what its holder committed.
        self.run("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
        self._inside = True
        try:
            yield
            self._commit()
        except BaseException:
            if self._connection is not None:
                try:
                    self._answer("ROLLBACK")
                except BadSheet:
                    self._drop()
            raise
        finally:
            self._inside = False

    def listen(self, seconds: float) -> None:
        """Returns at the next notification, or after `seconds`."""
        with self._explained():
            for _ in self._connected().notifies(timeout=seconds, stop_after=1):
                pass

    def close(self) -> None:
        self._closed = True
        self._drop()

    def _answer(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._explained(), self._limited(self._connected()) as connection:
            cursor = connection.execute(statement.encode(), values or None, binary=True)
            return cursor.fetchall() if cursor.description else []

    def _commit(self) -> None:
        try:
            with self._explained(), self._limited(self._connected()) as connection:
                done = connection.execute(b"COMMIT").statusmessage
        except BadSheet as error:
            raise BadSheet(f"{error} (lost while recording: read the log before you record it again)") from error
        if done != "COMMIT":  # what PostgreSQL makes of it, without an error, after a statement that failed
            raise BadSheet(f"{self.address.shown} recorded nothing, a statement before had failed; try again")

    def _connected(self) -> psycopg.Connection[tuple[Any, ...]]:
        if self._closed:
            raise BadSheet(f"{self.address.shown} was closed; open the sheet again")
        if self._connection is None:
            if self._inside:  # a new connection would be outside, and commit each statement by itself
                raise BadSheet(f"{self.address.shown} was lost in the middle of a transaction; try again")
            self._connection = self._connect()
        return self._connection

    def _connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        psycopg = _psycopg()
        connection = psycopg.connect(
            self.address.conninfo,
            autocommit=True,  # transactions are begun here and nowhere behind our back
            prepare_threshold=None,  # prepared statements do not survive a pooler
            connect_timeout=CONNECT_SECONDS,
            application_name="errata",
            client_encoding="utf8",
        )
        try:
            # A descriptor of our own: shutting it down can never hit a file that took the number meanwhile.
            self._line = socket.socket(fileno=os.dup(connection.fileno()))
            with self._limited(connection):
                limits = [str(round(seconds * 1000)) for seconds in (ANSWER_SECONDS, BUSY_SECONDS, IDLE_SECONDS)]
                connection.execute(_SETTINGS, limits)
                if self._greeting is not None:
                    connection.execute(self._greeting.encode())
        except BaseException:
            connection.close()
            self._drop()
            raise
        return connection

    @contextmanager
    def _limited(self, connection: psycopg.Connection[Any]) -> Iterator[psycopg.Connection[Any]]:
        """Cuts the line of a server that does not even answer that it is late, as when its machine is gone."""
        watch = threading.Timer(ANSWER_SECONDS + CONNECT_SECONDS, _hang_up, (self._line,))
        watch.daemon = True
        watch.start()
        try:
            yield connection
        finally:
            watch.cancel()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turns failures of the database inside the block into BadSheet, one line; a lost connection is let go."""
        psycopg = _psycopg()
        try:
            yield
        except psycopg.Error as error:
            raise BadSheet(self._told(error)) from error
        finally:
            if self._connection is not None and self._connection.closed:
                self._drop()

    def _told(self, error: psycopg.Error) -> str:
        state = error.sqlstate or ("08" if isinstance(error, _psycopg().OperationalError) else "")
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if self.address.password:
            reason = reason.replace(self.address.password, "…")
        advice = _ADVICE.get(state) or _ADVICE.get(state[:2]) or "cannot be used ({reason})"
        return f"{self.address.shown} {advice.format(reason=reason, answer=ANSWER_SECONDS)}"

    def _drop(self) -> None:
        connection, line = self._connection, self._line
        self._connection = self._line = None
        for part in (connection, line):
            if part is not None:
                part.close()


def _hang_up(line: socket.socket) -> None:
    with suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)
