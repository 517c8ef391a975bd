"""A real PostgreSQL of the tests' own: made in a temporary directory, reached by a socket there, killed and restarted.

Knows PostgreSQL's programs, and how a journal, a person at a prompt or several threads get at a database.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from errata.journal.database import Address
from errata.journal.events import Event, Stamp, new_event
from errata.journal.postgres import PostgresJournal
from sheets import BASE


class Cluster:
    """Not started yet. PostgreSQL refuses to run as root, who becomes `postgres` for it."""

    def __init__(self, programs: Path) -> None:
        self.programs = programs
        self.root = Path(tempfile.mkdtemp(prefix="errata-pg-"))  # short: a socket's path has 107 characters at most
        self.data = self.root / "data"
        if os.geteuid() == 0:
            shutil.chown(self.root, "postgres")
        self._run(
            "initdb", "--no-sync", "--auth=trust", "--username=tester", "--encoding=UTF8", "--locale=C", "-D",
            str(self.data),
        )  # fmt: skip

    def url(self, database: str = "postgres", **query: str) -> str:
        options = "".join(f"&{key}={value}" for key, value in query.items())
        return f"postgresql:///{database}?host={self.root}&user=tester{options}"

    def start(self) -> None:
        # What a killed process wrote is safe with the system: the disk is not what these tests are about.
        settings = f"-c listen_addresses='' -c fsync=off -k {self.root}"
        for attempt in range(20):  # after a kill the memory of the old processes takes a moment to be let go
            try:
                self._run(
                    "pg_ctl", "start", "-w", "-D", str(self.data), "-l", str(self.root / "log"), "-o", settings
                )
            except subprocess.CalledProcessError:
                if attempt == 19:
                    raise
                time.sleep(0.25)
            else:
                return

    def stop(self) -> None:
        self._run("pg_ctl", "stop", "-m", "fast", "-w", "-D", str(self.data))

    def kill(self) -> None:
        """kill -9 of the postmaster; its children notice and end."""
        os.kill(self.postmaster(), signal.SIGKILL)

    def postmaster(self) -> int:
        return int((self.data / "postmaster.pid").read_text().split()[0])

    @contextmanager
    def frozen(self, *processes: int) -> Iterator[None]:
        """Inside, processes that neither run nor end, as on a machine that hangs."""
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        try:
            yield
        finally:
            for process in processes:
                os.kill(process, signal.SIGCONT)

    def close(self) -> None:
        with suppress(subprocess.CalledProcessError):  # not running
            self._run("pg_ctl", "stop", "-m", "immediate", "-w", "-D", str(self.data))
        shutil.rmtree(self.root)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self.programs / program), *arguments]
        if os.geteuid() == 0:
            command = ["runuser", "-u", "postgres", "--", *command]
        # Not captured by pipes: the server would inherit and hold them.
        subprocess.run(
            command, check=True, cwd=self.root, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip


def installed() -> Path:
    """Where PostgreSQL's programs are. Skips the test when there are none, unless ERRATA_REQUIRE_POSTGRES=1."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    if found or on_path:
        return (found[-1] if found else Path(str(on_path)).resolve()).parent
    if os.environ.get("ERRATA_REQUIRE_POSTGRES") == "1":
        pytest.fail("PostgreSQL is not installed")
    pytest.skip("PostgreSQL is not installed")


def execute(url: str, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    """What a person at a prompt can do: `tester` may do everything."""
    import psycopg

    with psycopg.connect(Address.parse(url).conninfo, autocommit=True) as connection:
        cursor = connection.execute(statement.encode(), values or None)
        return cursor.fetchall() if cursor.description else []


def together(*calls: Callable[[], object]) -> list[BaseException | None]:
    """Runs each call in a thread of its own; what each raised."""
    raised: list[BaseException | None] = [None] * len(calls)

    def run(index: int) -> None:
        try:
            calls[index]()
        except BaseException as error:
            raised[index] = error

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


def event(seq: int, **payload: Any) -> Event:
    return new_event(seq, "export", {"detail": payload}, Stamp(who="me@here"))


def opened(url: str, sheet: str = "sheet", base: dict[str, str] = BASE) -> PostgresJournal:
    address = Address.parse(url)
    return PostgresJournal.open(address, address.sheet or sheet, base)
