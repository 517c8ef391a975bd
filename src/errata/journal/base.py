"""What a sheet asks of the place that keeps its journal: the one interface of the SQLite file and of PostgreSQL.

Knows the promises; nothing of how a place keeps them.
"""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from errata.journal.events import Event, PatchFile


class EventStore(Protocol):
    """Events in order, append-only and without a gap, safe between threads and processes.

    Every method raises BadSheet, one line, when the place cannot be used. `lock` orders the threads.
    """

    lock: threading.RLock

    def events(self, after: int = 0) -> list[Event]:
        """All events with seq > `after`, in order: one consistent snapshot that blocks no writer."""
        ...

    def writing(self) -> AbstractContextManager[None]:
        """Holds the write lock of all writers. Commits at the end; any exception leaves the old state."""
        ...

    def append(self, event: Event) -> None:
        """Adds the event that follows the last one. Only inside `writing`."""
        ...

    def keep(self, file: PatchFile, path: Path) -> None:
        """Stores the patch file at `path`, where the directory is not the only keeper. Only inside `writing`."""
        ...

    def fetch(self, file: PatchFile, path: Path) -> None:
        """Writes a stored patch file to `path`, checksum compared; does nothing when it is not stored."""
        ...

    def wait(self, after: int, seconds: float) -> bool:
        """Whether there is an event with seq > `after`; waits for one up to `seconds`, and holds no lock."""
        ...

    def close(self) -> None: ...
