"""What the events of a sheet mean: the fold from events to the state of every edit and every patch.

Knows the rules: the newest edit of a prompt wins, undo, redo, files that replace files. It knows nothing of
disks, databases, models or what patch files hold; nothing here changes an event.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from errata.edits import topic
from errata.errors import BadSheet, UnknownName, did_you_mean
from errata.journal.events import Event, PatchFile
from errata.prompts import prompt_of

ChangeKind = Literal["undo", "redo"]
Status = Literal["active", "undone", "superseded", "failed"]


@dataclass(frozen=True, slots=True)
class EditState:
    """Where one edit stands. `seq` is its apply; `unit` the unit that holds it (None when it failed)."""

    id: str
    edit: Mapping[str, Any]
    status: Status
    method: str | None
    seq: int
    unit: int | None = None
    reason: str | None = None
    superseded_by: str | None = None

    @property
    def prompt(self) -> str:
        return prompt_of(self.edit)

    @property
    def target(self) -> str:
        return self.edit["target"]

    @property
    def topic(self) -> tuple[str, ...]:
        """What a later edit must share to take this one's place."""
        return topic(self.prompt, self.target, self.edit.get("goal"), self.edit.get("rival"))


@dataclass(frozen=True, slots=True)
class Unit:
    """What one apply put on the model, in stack order by `seq`, with every edit that was solved into it.

    `files` are all files the unit ever had, newest last; `patch` is the current one. Which edits a file holds
    is written in that file: an undo leaves it as it is (a patch may drop edits by itself) or replaces it.
    """

    seq: int
    method: str | None
    config: Mapping[str, Any]
    seed: int | None
    edits: tuple[str, ...]
    files: tuple[PatchFile, ...]
    active: tuple[str, ...] = ()

    @property
    def patch(self) -> PatchFile:
        return self.files[-1]

    @property
    def inactive(self) -> tuple[str, ...]:
        """Edits of this unit that were undone or superseded."""
        active = set(self.active)
        return tuple(id for id in self.edits if id not in active)


@dataclass(frozen=True, slots=True)
class State:
    """The state after event `head` (0: none yet). Edits are in the order in which they were applied."""

    head: int = 0
    edits: Mapping[str, EditState] = field(default_factory=dict)
    units: tuple[Unit, ...] = ()

    def find(self, id: str) -> EditState:
        """Raises UnknownName."""
        if id not in self.edits:
            hint = did_you_mean(id, self.edits) or " List the sheet's edits to see their ids."
            raise UnknownName(f"no edit {id!r} in this sheet.{hint}")
        return self.edits[id]

    def unit(self, seq: int) -> Unit:
        """Raises BadSheet when no unit has that number."""
        for unit in self.units:
            if unit.seq == seq:
                return unit
        raise BadSheet(f"no unit {seq} in this sheet; use the number of an apply that stored a patch")

    def active(self) -> tuple[EditState, ...]:
        return tuple(edit for edit in self.edits.values() if edit.status == "active")

    def superseding(self, topics: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
        """Ids of the active edits that an apply of edits with these topics (`Edit.topic`) would supersede."""
        wanted = set(topics)
        return tuple(edit.id for edit in self.active() if edit.topic in wanted)

    def next_ids(self, count: int) -> tuple[str, ...]:
        """The next `count` ids of the series e1, e2, …; failed edits have used theirs up."""
        used = (re.fullmatch(r"e([0-9]+)", id) for id in self.edits)
        last = max((int(match[1]) for match in used if match), default=0)
        return tuple(f"e{last + step}" for step in range(1, count + 1))

    def files(self) -> dict[str, str]:
        """Name -> SHA-256 of every patch file an event ever named."""
        return {file.name: file.sha256 for unit in self.units for file in unit.files}

    def undoing(self, ids: Sequence[str]) -> Change:
        """What undoing these edits would do. Failed and undone edits stay as they are. Raises UnknownName."""
        return self._change("undo", ids, {"active", "superseded"})

    def redoing(self, ids: Sequence[str]) -> Change:
        """What bringing these edits back would do. Only undone edits change. Raises UnknownName."""
        return self._change("redo", ids, {"undone"})

    def _change(self, kind: ChangeKind, ids: Sequence[str], of: set[Status]) -> Change:
        found = [self.find(id) for id in dict.fromkeys(ids)]
        changed = tuple(edit.id for edit in found if edit.status in of)
        unchanged: dict[str, Status] = {edit.id: edit.status for edit in found if edit.status not in of}
        if not changed:
            return Change(kind, (), unchanged, self, ())
        draft = _Draft(self)
        draft.switch(kind, changed)
        after = draft.settle()
        before = {unit.seq: unit.active for unit in self.units}
        units = tuple(unit for unit in after.units if unit.active != before[unit.seq])
        return Change(kind, changed, unchanged, after, units)


@dataclass(frozen=True, slots=True)
class Change:
    """An undo or redo: `ids` change, `unchanged` do not because of their status, `after` is the state then.

    `units` are those whose active edits differ, as they are then. `seq` is the event's, None if not recorded.
    """

    kind: ChangeKind
    ids: tuple[str, ...]
    unchanged: Mapping[str, Status]
    after: State
    units: tuple[Unit, ...]
    seq: int | None = None


def fold(events: Iterable[Event], start: State | None = None) -> State:
    """The state after `events`, which continue `start` without a gap.

    Raises BadSheet for a missing event, an unknown kind or a payload that cannot be read.
    """
    start = start or State()
    draft = _Draft(start)
    for event in events:
        if event.seq != draft.head + 1:
            raise BadSheet(f"event {draft.head + 1} of the journal is missing; restore the sheet from a copy")
        try:
            draft.add(event)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = f"event {event.seq} of the journal cannot be read ({type(error).__name__}: {error})"
            raise BadSheet(f"{reason}; restore the sheet from a copy") from error
    return start if draft.head == start.head else draft.settle()


class _Draft:
    """A state under construction: statuses are settled once, at the end."""

    def __init__(self, start: State) -> None:
        self.head = start.head
        self.edits = dict(start.edits)
        self.units = {unit.seq: unit for unit in start.units}
        self.undone = {edit.id for edit in start.edits.values() if edit.status == "undone"}

    def add(self, event: Event) -> None:
        self.head = event.seq
        match event.kind:
            case "apply":
                self._apply(event)
            case "undo" | "redo":
                self.switch(event.kind, event.payload["ids"])
            case "export":
                return
            case other:
                raise ValueError(f"unknown kind {other!r}")
        for item in event.payload.get("replaced", ()):
            self._put_file(self.units[item["unit"]], item)

    def _apply(self, event: Event) -> None:
        seq = event.payload.get("joins", event.seq)
        done = []
        for item in event.payload["edits"]:
            id, failed = item["id"], item["status"] == "failed"
            if id in self.edits:
                raise ValueError(f"edit {id!r} exists already")
            edit = EditState(
                id=id,
                edit=dict(item["edit"]),
                status="failed" if failed else "active",
                method=event.method,
                seq=event.seq,
                unit=None if failed else seq,
                reason=item["reason"] if failed else None,
            )
            if not (isinstance(edit.prompt, str) and isinstance(edit.target, str)):
                raise TypeError(f"edit {id!r} has no text")
            self.edits[id] = edit
            if not failed:
                done.append(id)
        if not done:
            return
        if "joins" in event.payload:
            unit = self.units[seq]
            unit = replace(unit, edits=unit.edits + tuple(done))
        else:
            unit = Unit(seq, event.method, event.config, event.seed, tuple(done), ())
        self._put_file(unit, event.payload)

    def _put_file(self, unit: Unit, item: Mapping[str, Any]) -> None:
        file = PatchFile(item["patch"], item["sha256"])
        self.units[unit.seq] = replace(unit, files=(*unit.files, file))

    def switch(self, kind: ChangeKind, ids: Iterable[str]) -> None:
        for id in ids:
            if self.edits[id].status == "failed":
                raise ValueError(f"edit {id!r} failed and cannot be changed")
        if kind == "undo":
            self.undone.update(ids)
        else:
            self.undone.difference_update(ids)

    def settle(self) -> State:
        # Edits are in apply order, so the last one written here is the newest that still stands.
        newest = {edit.topic: edit.id for edit in self.edits.values() if self._stands(edit)}
        edits = {id: self._settled(edit, newest) for id, edit in self.edits.items()}
        units = tuple(
            replace(unit, active=tuple(id for id in unit.edits if edits[id].status == "active"))
            for unit in self.units.values()
        )
        return State(self.head, edits, units)

    def _stands(self, edit: EditState) -> bool:
        return edit.status != "failed" and edit.id not in self.undone

    def _settled(self, edit: EditState, newest: Mapping[tuple[str, ...], str]) -> EditState:
        if edit.status == "failed":
            return edit
        if edit.id in self.undone:
            return _with_status(edit, "undone", None)
        if newest[edit.topic] == edit.id:
            return _with_status(edit, "active", None)
        return _with_status(edit, "superseded", newest[edit.topic])


def _with_status(edit: EditState, status: Status, superseded_by: str | None) -> EditState:
    if (edit.status, edit.superseded_by) == (status, superseded_by):
        return edit
    return replace(edit, status=status, superseded_by=superseded_by)
