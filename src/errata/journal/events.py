"""One event of a sheet as data: what an apply, undo, redo or export writes down, and how it becomes JSON.

Knows shapes of rows only; nothing of earlier events, files or databases.
"""

from __future__ import annotations

import dataclasses
import getpass
import json
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from errata.errors import BadConfig, BadSheet
from errata.plain import plain

EventKind = Literal["apply", "undo", "redo", "export"]


@dataclass(frozen=True, slots=True)
class Event:
    """One row of the journal. `time` is ISO 8601 in UTC; `versions` are those of the libraries used.

    Payloads: apply {edits: [{id, edit, status, reason?}], patch?, sha256?, joins?, replaced, figures},
    undo and redo {ids, replaced, figures} with replaced: [{unit, patch, sha256}], export {detail}.
    """

    seq: int
    time: str
    who: str
    kind: str
    method: str | None
    config: Mapping[str, Any]
    seed: int | None
    payload: Mapping[str, Any]
    versions: Mapping[str, str]


COLUMNS = tuple(field.name for field in dataclasses.fields(Event))
_JSON = ("config", "payload", "versions")


def to_row(event: Event) -> dict[str, Any]:
    """The event by columns, its mappings as JSON text."""
    row = {name: getattr(event, name) for name in COLUMNS}
    return row | {name: json.dumps(row[name]) for name in _JSON}


def from_row(row: Sequence[Any]) -> Event:
    """The event in a row of COLUMNS. Raises BadSheet when one of its JSON texts cannot be read."""
    fields = dict(zip(COLUMNS, row, strict=True))
    try:
        fields |= {name: json.loads(fields[name]) for name in _JSON}
    except (ValueError, TypeError) as error:
        seq = fields["seq"]
        raise BadSheet(f"event {seq} of the journal cannot be read; restore the sheet from a copy") from error
    return Event(**fields)


@dataclass(frozen=True, slots=True)
class PatchFile:
    """A file of the sheet's `patches/`, by plain name, and the SHA-256 (hex) of its bytes."""

    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one edit of an apply: its id, its JSON form and, only when it failed, the reason."""

    id: str
    edit: Mapping[str, Any]
    failed: str | None = None

    def to_json(self) -> dict[str, Any]:
        item = {"id": self.id, "edit": dict(self.edit)}
        if self.failed is None:
            return item | {"status": "done"}
        return item | {"status": "failed", "reason": self.failed}


@dataclass(frozen=True, slots=True)
class Recipe:
    """What made a patch: the method's name, its whole configuration (JSON data) and the seed."""

    method: str
    config: Mapping[str, Any]
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.seed is not None and not -(1 << 63) <= self.seed < 1 << 63:
            raise BadConfig(f"seed {self.seed} is too large; use a signed 64-bit integer")


@dataclass(frozen=True, slots=True)
class Stamp:
    """Who records (default: user@host), with which library versions; figures measured (seconds, loss, …)."""

    who: str | None = None
    versions: Mapping[str, str] | None = None
    figures: Mapping[str, Any] | None = None


def new_event(
    seq: int, kind: EventKind, payload: Mapping[str, Any], stamp: Stamp, recipe: Recipe | None = None
) -> Event:
    """The event as of now. Figures that JSON cannot hold (NaN, infinities) become None."""
    return Event(
        seq=seq,
        time=datetime.now(UTC).isoformat(timespec="microseconds"),
        who=stamp.who or _whoami(),
        kind=kind,
        method=recipe.method if recipe else None,
        config=recipe.config if recipe else {},
        seed=recipe.seed if recipe else None,
        payload=dict(payload) | {"figures": plain(stamp.figures or {})},
        versions=stamp.versions or {},
    )


def _whoami() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's numeric user has no name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
