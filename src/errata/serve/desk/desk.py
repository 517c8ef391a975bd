"""The desk: hands commands to the worker process one after another, and starts another worker when one dies.

Knows processes, lines and waiting; what a command means it does not know. Everything here runs in the event loop and
never blocks it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from errata import errors
from errata.errors import BadEdit, ErrataError
from errata.serve.desk.nursery import Nursery
from errata.serve.engine.request import Busy, TimedOut

log = logging.getLogger(__name__)

LINE = 1 << 28  # bytes of one reply at most
FAREWELL = 10.0  # seconds that a command under way is given when the server ends


class WorkerDied(ErrataError):
    """The worker ended before it answered; whether it had recorded the change is in the journal."""


class Gated(ErrataError):
    """An edit that its gate refused; `detail` says which conditions failed and what moved."""

    def __init__(self, message: str, detail: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.detail = dict(detail)


class BadField(BadEdit):
    """An edit that is wrong in one field of the request; `detail` holds its place as `param`."""

    def __init__(self, message: str, param: str) -> None:
        super().__init__(message)
        self.param, self.detail = param, {"param": param}


class NoSpace(ErrataError):
    """The disk has no room for what was to be recorded; nothing was."""


class Failure(ErrataError):
    """Something nobody foresaw happened in the worker; its log has the traceback."""


Report = Callable[[dict[str, Any]], object]  # takes what the worker says of its progress


@dataclass
class _Command:
    name: str
    arguments: Mapping[str, Any]
    answer: asyncio.Future[dict[str, Any]]
    report: Report | None = None


@dataclass(frozen=True)
class _Worker:
    """A worker that was started: its end shows as the end of what it says."""

    pid: int
    said: asyncio.StreamReader
    told: asyncio.StreamWriter

    @property
    def alive(self) -> bool:
        return not self.said.at_eof()

    def kill(self) -> None:
        if self.alive:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    async def ended(self) -> None:
        """Wait until it has; whatever it says until then is not heard."""
        with suppress(ConnectionError):
            await self.said.read()
        self.told.close()


class Desk:
    """The front of one worker process."""

    def __init__(
        self, arguments: Mapping[str, Any], *, waiting: int, timeout: float, nursery: Nursery | None = None
    ) -> None:
        """`arguments` are the worker's: sheet, model, journal. At most `waiting` commands wait for another.

        Workers come from `nursery`, and from one that the desk starts where that is gone or none is given.
        """
        self._arguments, self._timeout = dict(arguments), timeout
        self._commands: asyncio.Queue[_Command] = asyncio.Queue(maxsize=waiting)
        self._nursery, self._lent = nursery, nursery
        self._worker: _Worker | None = None
        self._hiring: asyncio.Task[_Worker] | None = None
        self._task: asyncio.Task[None] | None = None
        self._busy: _Command | None = None
        self.deaths = 0

    @property
    def waiting(self) -> int:
        """Commands waiting or under way."""
        return self._commands.qsize() + (self._busy is not None)

    @property
    def pid(self) -> int | None:
        """Of the worker that is alive, if one is."""
        return self._worker.pid if self._worker and self._worker.alive else None

    async def start(self) -> None:
        """Start the worker, once its libraries are loaded. Commands wait until `open`."""
        self._hiring = asyncio.create_task(self._hire(), name="errata-hiring")

    async def open(self) -> None:
        """Let the worker open the sheet, and work off commands from then on. Raises what kept it from opening it."""
        assert self._hiring is not None
        await self._introduce(await self._hiring)
        self._task = asyncio.create_task(self._work(), name="errata-desk")

    async def stop(self) -> None:
        """Let the command under way finish for a moment, then end the worker."""
        for task in (self._hiring, self._task):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError, ErrataError):
                    await task
        if self._worker is not None and self._worker.alive:
            await self._farewell(self._worker)
        self._close_nursery()

    async def _farewell(self, worker: _Worker) -> None:
        if self._task is None:  # it has no sheet yet
            worker.kill()
        worker.told.write_eof()
        with suppress(TimeoutError):  # it ends once nothing is left to record
            await asyncio.wait_for(worker.ended(), FAREWELL)
        worker.kill()

    async def do(self, name: str, *, report: Report | None = None, **arguments: Any) -> dict[str, Any]:
        """What the worker answers to a command. The command goes on though the caller may be cancelled.

        Until then `report` is called with what it says of its progress.
        Raises: Busy, WorkerDied, TimedOut, Gated, and what the worker raised.
        """
        command = _Command(name, arguments, asyncio.get_running_loop().create_future(), report)
        try:
            self._commands.put_nowait(command)
        except asyncio.QueueFull:
            raise Busy(f"{self.waiting} changes are waiting, which is all there is room for; try again soon") from None
        return await asyncio.shield(command.answer)

    async def _work(self) -> None:
        while True:
            self._busy = command = await self._commands.get()
            try:
                answer = await asyncio.wait_for(self._ask(command), self._timeout)
            except asyncio.CancelledError:
                _settle(command, WorkerDied("the server is shutting down"))
                raise
            except TimeoutError:
                _settle(command, TimedOut(f"the change took longer than {self._timeout:g} s and was given up"))
                await self._dismiss()
            except ErrataError as error:
                _settle(command, error)
            else:
                if not command.answer.done():
                    command.answer.set_result(answer)
            finally:
                self._busy = None

    async def _ask(self, command: _Command) -> dict[str, Any]:
        worker = self._worker
        if worker is None or not worker.alive:
            worker = await self._hire()
            await self._introduce(worker)
        return await self._tell(worker, {"command": command.name, "arguments": command.arguments}, command.report)

    async def _hire(self) -> _Worker:
        """A new worker, in place of the last one."""
        line = self._line()
        said, told = await asyncio.open_connection(sock=line, limit=LINE)
        try:
            greeting = await said.readline()
        except BaseException:
            told.close()
            raise
        if not greeting:
            told.close()
            raise WorkerDied("no worker could be started to make changes; the server's log may say why")
        self._worker = _Worker(json.loads(greeting)["ok"]["pid"], said, told)
        log.info("worker started", extra={"pid": self._worker.pid})
        return self._worker

    def _line(self) -> socket.socket:
        """To a worker in the making; from another nursery, if the last one is gone."""
        if self._nursery is not None:
            try:
                return self._nursery.worker()
            except OSError:
                log.error("the nursery is gone; another one is started")
                self._close_nursery()
        self._nursery = Nursery.spawned()
        return self._nursery.worker()

    def _close_nursery(self) -> None:
        """End the one that the desk started itself."""
        if self._nursery is not None and self._nursery is not self._lent:
            self._nursery.close()

    async def _introduce(self, worker: _Worker) -> None:
        try:
            await self._tell(worker, self._arguments)
        except ErrataError:
            await self._dismiss()
            raise

    async def _tell(
        self, worker: _Worker, value: Mapping[str, Any], report: Report | None = None
    ) -> dict[str, Any]:
        """One line to the worker, and its answer."""
        with suppress(ConnectionError):  # what became of the worker shows when its answer is read
            worker.told.write(json.dumps(value).encode() + b"\n")
            await worker.told.drain()
        while "progress" in (reply := await self._read(worker)):
            if report is not None:
                report(reply["progress"])
        if "error" in reply:
            raise _raised(reply["error"])
        return reply["ok"]

    async def _read(self, worker: _Worker) -> dict[str, Any]:
        """The worker's next line. Raises WorkerDied where there is none."""
        try:
            line = await worker.said.readline()
        except ConnectionError:
            line = b""
        if not line.endswith(b"\n"):
            await self._dismiss()
            self.deaths += 1
            log.error("worker died", extra={"pid": worker.pid})
            raise WorkerDied("the worker that makes changes died; see in the journal whether it had recorded this one")
        return json.loads(line)

    async def _dismiss(self) -> None:
        """End the worker; it must not be given another command on its way out."""
        if self._worker is not None:
            self._worker.kill()
            await self._worker.ended()


def _settle(command: _Command, error: ErrataError) -> None:
    if not command.answer.done():
        command.answer.set_exception(error)
        command.answer.exception()  # its caller may have left; an error nobody reads is not worth a warning


def _raised(error: Mapping[str, Any]) -> ErrataError:
    """The worker's error, of its own class where it is one of the family."""
    if error["kind"] == "Refused":
        return Gated(error["message"], error["detail"])
    if error["full"]:
        return NoSpace(error["message"])
    if error["kind"] == "BadField":
        return BadField(error["message"], error["detail"]["param"])
    family = getattr(errors, error["kind"], Failure)
    return family(error["message"])
