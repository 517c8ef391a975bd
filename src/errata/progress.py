"""Progress of long work: what is being done, how much of it is done, how long the rest will take.

One object says where it is shown: nowhere, as a bar in a terminal, or to a function of the caller's. Knows tqdm alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from tqdm import tqdm


@dataclass(frozen=True)
class Event:
    """A report of progress.

    Attributes:
        what: what is being done.
        done, total: of `unit`.
        seconds: since it began.
        eta: seconds until it ends, at the rate so far; None before anything is done.
    """

    what: str
    done: int
    total: int
    unit: str
    seconds: float
    eta: float | None


class Bar(Protocol):
    """One piece of work."""

    def update(self, n: int = 1) -> object:
        """Count `n` units as done."""
        ...


class Progress:
    """Shows nothing; what others derive from."""

    @contextmanager
    def bar(self, what: str, total: int, unit: str = "it", done: int = 0) -> Iterator[Bar]:
        """Give a bar for `total` units of work, of which `done` were done before."""
        yield _Silent()

    def or_terminal(self, wanted: bool) -> Progress:
        """Return this, or bars in the terminal where nothing is shown yet and they are wanted."""
        return TerminalProgress() if wanted and type(self) is Progress else self


class TerminalProgress(Progress):
    """Shows bars with rate and time left on standard error, one line each, and leaves nothing behind."""

    @contextmanager
    def bar(self, what: str, total: int, unit: str = "it", done: int = 0) -> Iterator[Bar]:
        with tqdm(total=total, desc=what, unit=unit, initial=done, leave=False) as bar:
            yield bar


class CallbackProgress(Progress):
    """Tells a function of every update."""

    def __init__(self, tell: Callable[[Event], object]) -> None:
        self._tell = tell

    @contextmanager
    def bar(self, what: str, total: int, unit: str = "it", done: int = 0) -> Iterator[Bar]:
        yield _Told(self._tell, what, total, unit, done)


def progress_of(wanted: bool | Callable[[Event], object]) -> Progress:
    """Return where progress is shown: in the terminal for True, nowhere for False, or told to a function."""
    if callable(wanted):
        return CallbackProgress(wanted)
    return TerminalProgress() if wanted else Progress()


class _Silent:
    def update(self, n: int = 1) -> None:
        return None


class _Told:
    def __init__(self, tell: Callable[[Event], object], what: str, total: int, unit: str, done: int) -> None:
        self._tell, self._what, self._total, self._unit = tell, what, total, unit
        self._before, self._done, self._started = done, done, time.monotonic()
        self.update(0)

    def update(self, n: int = 1) -> None:
        self._done += n
        seconds = time.monotonic() - self._started
        made = self._done - self._before
        eta = seconds / made * (self._total - self._done) if made else None
        self._tell(Event(self._what, self._done, self._total, self._unit, seconds, eta))
