"""What is asked of the engine and what it hands back: sampling settings, tokens, and the handle of an answer.

Knows threads and event loops, for an answer is written in one thread and read in another. Knows no model.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from errata.errors import BadConfig, BadEdit, ErrataError

Reason = Literal["stop", "length"]


class Busy(ErrataError):
    """As many requests as are allowed to wait are waiting."""


class TooLong(BadEdit):
    """A prompt with more tokens than the model reads."""


class TimedOut(ErrataError):
    """A request that was not answered within its time."""


class Cancelled(ErrataError):
    """A request that its caller gave up."""


class Fault(ErrataError):
    """The model failed while it computed the answer; the engine's log holds the traceback."""


class Stopped(ErrataError):
    """The engine does not run, or stopped before the answer was complete."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How an answer is chosen.

    Attributes:
        max_tokens: the most tokens it may have.
        temperature: 0 takes the likeliest token, with no draw.
        top_p: draw among the likeliest tokens that together have this much probability.
        seed: the same request with the same seed gets the same answer; None: another one each time.
        stop: texts that end the answer and are no part of it.
        logprobs: how many alternatives to tell with every token; None: no log-probabilities at all.
        presence_penalty, frequency_penalty: taken from the logit of a token written before, once and for every time.
    """

    max_tokens: int = 16
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0

    def __post_init__(self) -> None:
        checks = {
            "max_tokens must be 1 or more": self.max_tokens >= 1,
            "temperature must be 0 to 2": 0 <= self.temperature <= 2,
            "top_p must be 0 to 1": 0 <= self.top_p <= 1,
            "stop strings must not be empty": all(self.stop),
            "logprobs must be 0 or more": (self.logprobs or 0) >= 0,
            "penalties must be -2 to 2": all(-2 <= p <= 2 for p in (self.presence_penalty, self.frequency_penalty)),
        }
        if wrong := [rule for rule, kept in checks.items() if not kept]:
            raise BadConfig("; ".join(wrong))


GREEDY = Sampling(temperature=0.0)


@dataclass(frozen=True, slots=True)
class Token:
    """A token of an answer. The texts of all tokens, joined, are the answer's text.

    Attributes:
        text: empty for a token that does not complete a character.
        logprob: what the model gave it, before temperature and penalties; None unless asked for.
        top: the likeliest tokens at this place, with theirs.
    """

    id: int
    text: str
    logprob: float | None = None
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Fired:
    """An edit that answered at a position (of prompt and answer together, from 0) of one request."""

    edit: str
    layer: int
    position: int
    distance: float
    radius: float


@dataclass(frozen=True, slots=True)
class Finished:
    """A complete answer.

    Attributes:
        version: head of the sheet whose edits answered, from the first token to the last.
        completion_tokens: all that were chosen but the end token, those of a stop string included.
        weight_edits: how many edits the weights held.
    """

    text: str
    tokens: tuple[Token, ...]
    finish_reason: Reason
    prompt_tokens: int
    completion_tokens: int
    version: int
    fired: tuple[Fired, ...]
    weight_edits: int


class Generation:
    """An answer in the making. Iterate over its tokens, or await its result; from any event loop.

        async for token in generation: ...
        finished = await generation.result()

    Attributes:
        fired: edits that wrote notes into the prompt.
        finished: resolves to the complete answer, for callers without an event loop. It cannot be cancelled;
            `cancel` is for that.
    """

    def __init__(
        self, ids: Sequence[int], sampling: Sampling, *, timeout: float | None, fired: Sequence[Fired] = ()
    ) -> None:
        self.ids, self.sampling, self.fired = tuple(ids), sampling, tuple(fired)
        self.submitted, self.timeout = time.monotonic(), timeout
        self.deadline = None if timeout is None else self.submitted + timeout
        self.cancelled = False
        self.finished: Future[Finished] = Future()
        self.finished.set_running_or_notify_cancel()
        self._tokens: list[Token] = []
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], object]] = []

    def cancel(self) -> None:
        """Give up: its row is free at the next step, and its result raises Cancelled. Harmless when it is complete."""
        self.cancelled = True

    async def result(self) -> Finished:
        """The complete answer. Raises what kept it from being completed: TimedOut, Cancelled, Stopped or a fault."""
        return await asyncio.shield(asyncio.wrap_future(self.finished))

    async def __aiter__(self) -> AsyncIterator[Token]:
        """Every token from the first, as they come. Raises what `result` raises."""
        loop, arrived = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop of a reader that left is closed
                loop.call_soon_threadsafe(arrived.set)

        with self._lock:
            self._listeners.append(wake)
        try:
            seen = 0
            while True:
                arrived.clear()
                complete = self.finished.done()  # asked first: no token comes after
                for token in self._tokens[seen:]:
                    seen += 1
                    yield token
                if complete:
                    break
                await arrived.wait()
        finally:
            with self._lock:
                self._listeners.remove(wake)
        self.finished.result()

    # -- the engine's side ---------------------------------------------------------------------------------------

    def publish(self, tokens: Sequence[Token]) -> None:
        """More of the answer."""
        self._tokens.extend(tokens)
        self._notify()

    def finish(self, finished: Finished) -> None:
        """The answer is complete."""
        self.finished.set_result(finished)
        self._notify()

    def fail(self, error: BaseException) -> None:
        """There will be no complete answer."""
        self.finished.set_exception(error)
        self._notify()

    def overdue(self) -> ErrataError | None:
        """Why it need not be worked on any longer, if so."""
        if self.cancelled:
            return Cancelled("the request was cancelled")
        if self.deadline is not None and time.monotonic() > self.deadline:
            return TimedOut(f"the request took longer than {self.timeout:g} s; ask for fewer tokens or more time")
        return None

    def _notify(self) -> None:
        with self._lock:
            for listener in self._listeners:
                listener()
