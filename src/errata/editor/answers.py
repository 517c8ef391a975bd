"""What an Editor hands back: receipts, explanations, differences. Plain data that prints itself and becomes JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from errata.edits import Goal


@dataclass(frozen=True)
class EditResult:
    """What became of one edit. `status` is "done" or "failed", with the reason; `figures` is what was measured.

    Of a canonical example `goal` and `rival` say what it was for, and `figures` has its loss before and now.
    """

    id: str
    prompt: str
    target: str
    status: Literal["done", "failed"]
    reason: str | None = None
    superseded: tuple[str, ...] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)
    goal: Goal | None = None
    rival: str | None = None


Accept = Callable[[Sequence[EditResult]], None]  # looks at edits that are on trial, and raises to refuse them


@dataclass(frozen=True)
class Receipt:
    """The outcome of `Editor.edit`: one result per edit, in the order given, failures included.

    `how` says in one line which method edited, and where.
    """

    method: str
    results: tuple[EditResult, ...]
    seconds: float
    dry_run: bool = False
    how: str = ""

    @property
    def ids(self) -> list[str]:
        return [result.id for result in self.results]

    @property
    def failed(self) -> list[EditResult]:
        return [result for result in self.results if result.status == "failed"]

    @property
    def done(self) -> list[EditResult]:
        return [result for result in self.results if result.status == "done"]

    def to_json(self) -> list[dict[str, Any]]:
        return [{**dataclasses.asdict(result), "method": self.method} for result in self.results]


@dataclass(frozen=True)
class Undone:
    """The outcome of `Editor.undo` or `redo`: which edits changed, which stood so already, and what else to know."""

    changed: tuple[str, ...]
    unchanged: Mapping[str, str]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Firing:
    """A key of a codebook that answered: at which token, of which edit, and how near (L2) within which radius."""

    edit: str
    edit_prompt: str
    target: str
    layer: int
    position: int
    token: str
    distance: float
    radius: float
    score: float | None = None

    @property
    def why(self) -> str:
        """Where it fired and how near it was."""
        if self.score is not None:
            return f"the question is in its scope, score {self.score:.2f} (in scope above 0)"
        return (
            f"block {self.layer}, token {self.position} {self.token!r}, "
            f"distance {self.distance:.3g} within radius {self.radius:.3g}"
        )


@dataclass(frozen=True)
class Explanation:
    """Why the model answers as it does: its answer now and without any edit, and which edits had a part in it.

    `near` are edits that were compared with the question and did not answer it, with their scores.
    """

    prompt: str
    answer: str
    before: str
    firings: tuple[Firing, ...]
    weights: tuple[str, ...]
    near: tuple[tuple[str, float], ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.prompt} -> {self.answer!r} (without edits: {self.before!r})"]
        told = [
            f"  this answer came from edit {fired.edit} ({fired.edit_prompt!r} -> {fired.target!r}): {fired.why}"
            for fired in self.firings
        ]
        lines += list(dict.fromkeys(told))
        if self.near:
            lines.append("  not in scope: " + ", ".join(f"{id} ({score:.2f})" for id, score in self.near))
        if self.weights:
            lines.append(f"  weight edits in force on every answer: {', '.join(self.weights)}")
        if not self.firings and not self.weights:
            lines.append("  no edit had a part in this answer")
        elif not self.firings and self.answer == self.before:
            lines.append("  the answer is the same with and without them")
        return "\n".join(lines)


@dataclass(frozen=True)
class Difference:
    """One active edit's prompt before any edit and now."""

    id: str
    prompt: str
    target: str
    before: str
    after: str

    @property
    def holds(self) -> bool:
        return self.after == self.target.strip()
