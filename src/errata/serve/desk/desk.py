"""The desk: hands commands to the worker process one after another, and starts another worker when one dies.

Knows processes, pipes and waiting; what a command means it does not know. Everything here runs in the event loop and
never blocks it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from errata import errors
from errata.errors import ErrataError
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


class Failure(ErrataError):
    """Something nobody foresaw happened in the worker; its log has the traceback."""


@dataclass
class _Command:
    name: str
    arguments: Mapping[str, Any]
    answer: asyncio.Future[dict[str, Any]]


class Desk:
    """The front of one worker process."""

    def __init__(self, arguments: Mapping[str, Any], *, waiting: int, timeout: float) -> None:
        """`arguments` are the worker's: sheet, model, journal. At most `waiting` commands wait for another."""
        self._arguments, self._timeout = dict(arguments), timeout
        self._commands: asyncio.Queue[_Command] = asyncio.Queue(maxsize=waiting)
        self._process: asyncio.subprocess.Process | None = None
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
        return self._process.pid if self._process and self._process.returncode is None else None

    async def start(self) -> None:
        """Start the worker, which gets its libraries ready by itself. Commands wait until `open`."""
        await self._hire()

    async def open(self) -> None:
        """Let the worker open the sheet, and work off commands from then on. Raises what kept it from opening it."""
        await self._introduce()
        self._task = asyncio.create_task(self._work(), name="errata-desk")

    async def stop(self) -> None:
        """Let the command under way finish for a moment, then end the worker."""
        if self._task is None:  # it has no sheet yet
            self._dismiss()
        else:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        process = self._process
        if process is not None and process.returncode is None:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.close()
            with suppress(TimeoutError):  # it closes its output once nothing is left to record
                await asyncio.wait_for(process.stdout.read(), FAREWELL)
            self._dismiss()
            await process.wait()

    async def do(self, name: str, **arguments: Any) -> dict[str, Any]:
        """What the worker answers to a command. The command goes on though the caller may be cancelled.

        Raises: Busy, WorkerDied, TimedOut, Gated, and what the worker raised.
        """
        command = _Command(name, arguments, asyncio.get_running_loop().create_future())
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
                self._dismiss()
                _settle(command, TimedOut(f"the change took longer than {self._timeout:g} s and was given up"))
            except ErrataError as error:
                _settle(command, error)
            else:
                if not command.answer.done():
                    command.answer.set_result(answer)
            finally:
                self._busy = None

    async def _ask(self, command: _Command) -> dict[str, Any]:
        if self.pid is None:
            await self._hire()
            await self._introduce()
        return await self._tell({"command": command.name, "arguments": command.arguments})

    async def _introduce(self) -> None:
        try:
            await self._tell(self._arguments)
        except ErrataError:
            self._dismiss()  # it ends by itself, and must not be given a command before it has
            if self._process is not None:
                await self._process.wait()
            raise

    async def _tell(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """One line to the worker, and its answer."""
        assert self._process is not None
        assert self._process.stdin is not None
        with suppress(ConnectionError):  # what became of the worker shows when its answer is read
            self._process.stdin.write(json.dumps(value).encode() + b"\n")
            await self._process.stdin.drain()
        return await self._read()

    async def _hire(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "errata.serve.desk.worker"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE,
        )
        log.info("worker started", extra={"pid": self._process.pid})

    async def _read(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line.endswith(b"\n"):
            self._dismiss()
            code = await self._process.wait()
            self.deaths += 1
            log.error("worker died", extra={"code": code})
            raise WorkerDied("the worker that makes changes died; see in the journal whether it had recorded this one")
        reply = json.loads(line)
        if "error" in reply:
            raise _raised(reply["error"])
        return reply["ok"]

    def _dismiss(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()


def _settle(command: _Command, error: ErrataError) -> None:
    if not command.answer.done():
        command.answer.set_exception(error)
        command.answer.exception()  # its caller may have left; an error nobody reads is not worth a warning


def _raised(error: Mapping[str, Any]) -> ErrataError:
    """The worker's error, of its own class where it is one of the family."""
    if error["kind"] == "Refused":
        return Gated(error["message"], error["detail"])
    family = getattr(errors, error["kind"], Failure)
    return family(error["message"])
