"""Keeps the engine at what the sheet says, whoever recorded it: this server, the command line or another replica.

Knows sheets and the engine's `swap`. Reading the sheet and loading patches happen in threads, one at a time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from concurrent.futures import Future
from contextlib import suppress
from typing import Protocol, cast

from errata.editor.stack import Stack
from errata.errors import ErrataError
from errata.journal.events import Event
from errata.journal.history import State
from errata.models import EditableModel
from errata.patches.base import Patch
from errata.patches.records import RecordedPatch
from errata.sheet import Sheet

log = logging.getLogger(__name__)

WAIT = 1.0  # seconds of one wait for news; the sheet itself looks several times a second
RETRY = 1.0  # seconds after a sheet could not be read


class Swaps(Protocol):
    """What is followed with: the engine."""

    def swap(self, head: int, patches: list[Patch]) -> Future[int]: ...


class Follower:
    """The serving process's view of the sheet.

    Attributes:
        state: the newest state that the engine answers by.
        events: the journal up to there, oldest first.
        trouble: why the sheet cannot be read just now, None while it can.
    """

    def __init__(self, base: EditableModel, sheet: Sheet, engine: Swaps) -> None:
        self.sheet, self.state, self.trouble = sheet, State(), cast(str | None, None)
        self.events: list[Event] = []
        self._engine, self._stack = engine, Stack(base, sheet)
        self._patches: list[Patch] = []
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Show the sheet as it is, then go on following it. Raises what kept the first from working."""
        await self.catch_up()
        self._task = asyncio.create_task(self._follow(), name="errata-follower")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def catch_up(self) -> int:
        """Make what is recorded by now live; gives the head that is. Raises: BadSheet, BadPatch."""
        async with self._lock:
            state = await asyncio.to_thread(self.sheet.state)
            if state.head != self.state.head:
                events, patches = await asyncio.to_thread(self._read, state)
                await cast(Awaitable[int], asyncio.wrap_future(self._engine.swap(state.head, patches)))
                self.events += events
                self.state, self._patches = state, patches
                log.info("head is live", extra={"head": state.head, "edits": len(state.active())})
            return self.state.head

    def weight_edits(self) -> list[str]:
        """Ids of the edits that act on every answer alike."""
        return [id for patch in self._patches if not isinstance(patch, RecordedPatch) for id in patch.edits]

    def _read(self, state: State) -> tuple[list[Event], list[Patch]]:
        events = [event for event in self.sheet.events(self.state.head) if event.seq <= state.head]
        return events, list(self._stack.plan(state).values())

    async def _follow(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self.sheet.wait, WAIT)
                await self.catch_up()
                self.trouble = None
            except ErrataError as error:
                if self.trouble is None:
                    log.error("the sheet cannot be followed", extra={"reason": str(error)})
                self.trouble = str(error)
                await asyncio.sleep(RETRY)
            except Exception as error:  # whatever it was, later edits have to go live
                log.exception("the sheet could not be followed")
                self.trouble = f"{type(error).__name__}: {error}"
                await asyncio.sleep(RETRY)
