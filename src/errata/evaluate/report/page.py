"""What a report says, as plain data: each contender's figures, work, failures and examples, and how they were made.

Knows figures; knows neither files nor how a report looks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from errata.evaluate.figures import Figure

State = Literal["finished", "unfinished", "not started", "could not be run"]


@dataclass(frozen=True)
class Request:
    """An edit as a reader meets it; prompt and target are empty where no answer about it was kept."""

    id: str
    prompt: str = ""
    target: str = ""


@dataclass(frozen=True)
class Failure:
    """An edit that was not made, and why."""

    request: Request
    reason: str


@dataclass(frozen=True)
class Case:
    """One answer that went wrong: what was expected, what the model said before any edit, and what it says now."""

    why: str
    prompt: str
    expected: str
    before: str
    now: str
    edit: str | None = None


@dataclass(frozen=True)
class Work:
    """What became of the edits of a stream, and what they cost.

    Attributes:
        asked, right, failed: edits asked for, answered rightly before they were made, and not made.
        keys: of all codebooks together.
        bytes: of patches, an edit made; None where none was.
        seconds: median over batches of the time for an edit; None where nothing was edited.
    """

    asked: int
    right: int
    failed: int
    keys: int
    bytes: float | None
    seconds: float | None

    @property
    def made(self) -> int:
        return self.asked - self.right - self.failed


@dataclass(frozen=True)
class Checkpoint:
    """Figures by name after so many edits."""

    edits: int
    figures: Mapping[str, Figure]


@dataclass(frozen=True)
class Look:
    """Perplexity on a few texts after so many edits; None where it is no number any more. `since` are new edits."""

    edits: int
    perplexity: float | None
    since: tuple[Request, ...]


@dataclass(frozen=True)
class Entrant:
    """One contender: a method with its options."""

    label: str
    method: str
    options: Mapping[str, Any]
    state: State
    problem: str | None = None
    checkpoints: tuple[Checkpoint, ...] = ()
    work: Work | None = None
    failures: tuple[Failure, ...] = ()
    cases: tuple[Case, ...] = ()
    looks: tuple[Look, ...] = ()
    collapse: Look | None = None

    @property
    def last(self) -> Checkpoint | None:
        return self.checkpoints[-1] if self.checkpoints else None


@dataclass(frozen=True)
class Sweep:
    """Contenders that differ in one numeric option alone: its values in order, each with a contender's label."""

    method: str
    option: str
    points: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Page:
    """A whole report.

    Attributes:
        total: how many edits the stream has; None while nobody knows.
        start: perplexity before edits, as far as looks tell (see `gather.start`); None without looks.
        missing: what is not there yet, in words.
    """

    title: str
    recipe: Mapping[str, Any]
    setting: Mapping[str, Any]
    environment: Mapping[str, Any]
    total: int | None
    entrants: tuple[Entrant, ...]
    sweeps: tuple[Sweep, ...] = ()
    start: float | None = None
    missing: tuple[str, ...] = ()

    @property
    def protocol(self) -> str:
        return str(self.recipe["protocol"])

    @property
    def end(self) -> int | None:
        """After how many edits the contenders that came farthest were measured."""
        return max((entrant.last.edits for entrant in self.entrants if entrant.last), default=None)

    @property
    def compared(self) -> list[Entrant]:
        """The contenders measured at that same moment: only they are held against each other."""
        return [entrant for entrant in self.entrants if entrant.last and entrant.last.edits == self.end]

    def figures(self, name: str) -> list[tuple[Entrant, Figure]]:
        """A figure of each compared contender that has it."""
        return [(e, e.last.figures[name]) for e in self.compared if e.last and name in e.last.figures]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
