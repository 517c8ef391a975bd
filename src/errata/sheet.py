"""The errata sheet of one model: a directory with `sheet.json`, `journal.db` and the patch files it names.

Its journal may lie in PostgreSQL instead; the directory is then one of any number of replicas. Knows the directory,
the order of writing (patch files first, then the event that names them) and copying. It knows nothing of models,
tensors or what a patch file holds. What events mean is in `journal.history`.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from errata.durable import check_file, copy_file, staged, sync_directory
from errata.errors import BadEdit, BadSheet
from errata.journal.base import EventStore
from errata.journal.card import CARD, Card, check_base, read_card
from errata.journal.events import Event, EventKind, Outcome, PatchFile, Recipe, Stamp, new_event
from errata.journal.history import Change, ChangeKind, State, fold
from errata.journal.opening import lay_out, open_journal, register
from errata.journal.store import explained

SWEEP_GRACE = 3600.0  # seconds; outlasts coarse file times and a clock that was set back


class Sheet:
    """A sheet that is open for reading and appending. Safe between threads and between processes.

    Of two writers that saw the same state the first to record wins; the other gets BadSheet and starts anew.
    """

    def __init__(self, path: Path, base: Mapping[str, Any], journal: EventStore) -> None:
        self.path = path
        self.base = dict(base)
        self.patches = path / "patches"
        self._journal = journal
        self._state = State()

    @classmethod
    def create(cls, path: str | os.PathLike[str], base: Mapping[str, Any], journal: str | None = None) -> Sheet:
        """A new sheet at `path`, which is absent or an empty directory.

        `base` needs name, fingerprint and task as text. `journal` is the URL of a PostgreSQL database that keeps the
        journal: as the sheet that `?sheet=` names, or else the directory's name, which may be there already. Raises
        BadSheet when a key of `base` is missing, when something else lies at `path` or when it cannot be written;
        WrongModel when the sheet in the database is another model's, BadConfig for a URL that is none.
        """
        target = Path(path).resolve()
        check_base(base, target)
        name = None if journal is None else register(journal, base, target.name)
        with explained(target), staged(target) as stage:
            lay_out(stage, Card(dict(base), name))
        return cls.open(target, journal)

    @classmethod
    def open(cls, path: str | os.PathLike[str], journal: str | None = None) -> Sheet:
        """`journal` is the URL that it was created with, if any.

        Raises BadSheet when it is missing, damaged, incomplete, not writable or of a newer format.
        """
        target = Path(path).resolve()
        with explained(target):
            if not (target / CARD).is_file():
                raise BadSheet(f"{target} is no errata sheet (no {CARD}); check the path or create one")
            card = read_card(target / CARD)
            (target / "patches").mkdir(exist_ok=True)  # archives and version control drop empty directories
            sheet = cls(target, card.base, open_journal(target, card, journal))
        try:
            for unit in sheet.state().units:
                sheet.file(unit.patch)
        except BaseException:
            sheet.close()
            raise
        return sheet

    def close(self) -> None:
        self._journal.close()

    def __enter__(self) -> Sheet:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def events(self, after: int = 0) -> list[Event]:
        """The log: every event with seq > `after`, oldest first."""
        return self._journal.events(after)

    def state(self) -> State:
        """The state now, including what other processes recorded. Records expect its `head`.

        The patch files that a database keeps of it are in the directory on return.
        """
        with self._journal.lock:
            state = fold(self._journal.events(self._state.head), self._state)
            if state is not self._state:
                for name, sha256 in state.files().items() - self._state.files().items():
                    self._bring(PatchFile(name, sha256))
                self._state = state
            return state

    def wait(self, seconds: float) -> bool:
        """Whether more was recorded than `state` last told; waits for it up to `seconds`. Blocks no other call."""
        return self._journal.wait(self._state.head, seconds)

    def next_ids(self, count: int) -> tuple[str, ...]:
        """Ids for the next `count` edits: e1, e2, … in order within the sheet."""
        return self.state().next_ids(count)

    def file(self, patch: PatchFile) -> Path:
        """Where a patch file lies. Its checksum is not compared here: who reads the bytes does that.

        Raises BadSheet when the file is missing or its name is not a plain one.
        """
        path = self._bring(patch)
        if not path.is_file():
            raise BadSheet(f"{path} is missing; restore the sheet from a copy")
        return path

    def _bring(self, patch: PatchFile) -> Path:
        if Path(patch.name).name != patch.name or patch.name.startswith("."):
            raise BadSheet(f"{patch.name!r} is no plain file name; patch files lie in {self.patches} itself")
        path = self.patches / patch.name
        if not path.is_file():
            self._journal.fetch(patch, path)
        return path

    def verify(self) -> None:
        """Reads every file an event ever named. Raises BadSheet for the first that is missing or changed."""
        for name, sha256 in self.state().files().items():
            path = self.file(PatchFile(name, sha256))
            with explained(path):
                check_file(path, sha256)

    def record_apply(
        self,
        outcomes: Sequence[Outcome],
        recipe: Recipe,
        *,
        expect_head: int,
        patch: PatchFile | None = None,
        joins: int | None = None,
        replaced: Mapping[int, PatchFile] | None = None,
        stamp: Stamp | None = None,
    ) -> int:
        """Records an apply and returns its seq. `patch` holds the edits that worked; None when all failed.

        `joins` names the unit that these edits extend: `patch` is its new file then and no unit is added.
        `replaced` gives other units new files (unit seq -> file), as when an edit superseded here had been
        solved jointly with others. Raises BadEdit for an id in use; BadSheet when the head moved, a file is
        not there or a unit is unknown.
        """
        worked = any(outcome.failed is None for outcome in outcomes)
        if not outcomes or worked != (patch is not None):
            raise BadSheet("an apply needs edits, and a patch file if and only if one worked")
        payload: dict[str, Any] = {"edits": [outcome.to_json() for outcome in outcomes]}
        if patch is not None:
            payload |= {"patch": patch.name, "sha256": patch.sha256}
        if joins is not None:
            payload["joins"] = joins
        with self._recording(expect_head) as state:
            _check_ids(state, [outcome.id for outcome in outcomes])
            if joins is not None:
                state.unit(joins)
            self._check_written(state, [patch] if patch is not None else [])
            payload["replaced"] = self._replacements(state, replaced)
            return self._append(state, "apply", payload, stamp, recipe).head

    def record_change(
        self,
        kind: ChangeKind,
        ids: Sequence[str],
        *,
        expect_head: int,
        replaced: Mapping[int, PatchFile] | None = None,
        stamp: Stamp | None = None,
    ) -> Change:
        """Records an undo or redo of edits; `replaced` gives refitted units new files (unit seq -> file).

        Edits that failed, or stand so already, are left alone; when none changes, nothing is recorded and
        `seq` is None. A redo keeps each unit's current file: to go back to an earlier one, name it in
        `replaced`. An older edit brought back stays superseded while a newer one of its prompt stands.
        Raises UnknownName for an unknown id; BadSheet when the head moved or a file is not there.
        """
        with self._recording(expect_head) as state:
            change = state.undoing(ids) if kind == "undo" else state.redoing(ids)
            if not change.ids:
                return change
            payload = {"ids": list(change.ids), "replaced": self._replacements(state, replaced)}
            after = self._append(state, kind, payload, stamp)
        units = tuple(after.unit(unit.seq) for unit in change.units)
        return dataclasses.replace(change, seq=after.head, after=after, units=units)

    def record_export(self, detail: Mapping[str, Any], *, expect_head: int, stamp: Stamp | None = None) -> int:
        """Records that the state at `expect_head` was exported (`detail`: format, path, …); gives its seq."""
        with self._recording(expect_head) as state:
            return self._append(state, "export", {"detail": detail}, stamp).head

    def sweep(self) -> tuple[str, ...]:
        """Removes files in `patches/` that no event names and none can name any more; returns their names.

        A file that another process may still record is younger than the newest event: had the head moved
        since, its record would be refused. Only older files go, and only under the write lock.
        """
        with self._journal.writing():
            events = self.events()
            named = fold(events).files()
            newest = datetime.fromisoformat(events[-1].time).timestamp() if events else 0.0
            before = min(newest, time.time() - SWEEP_GRACE)
            with os.scandir(self.patches) as entries:
                files = [entry for entry in entries if entry.is_file(follow_symlinks=False)]
            stale = [file for file in files if file.name not in named and file.stat().st_mtime < before]
            for file in stale:
                os.unlink(file.path)
        return tuple(sorted(file.name for file in stale))

    def copy_to(self, dest: str | os.PathLike[str], journal: str | None = None) -> None:
        """A consistent copy at `dest`: absent, empty, or an earlier copy that gains what is new.

        With `journal` (see `create`) the copy's journal is in a database: so a sheet moves into one. A kill leaves the
        old or the new state. Raises BadSheet when `dest` holds anything else: other files, another model's sheet, or
        events that this sheet does not have.
        """
        target = Path(dest).resolve()
        if target == self.path:
            return
        with explained(target):
            new = not target.exists() or (target.is_dir() and not any(target.iterdir()))
            if new and journal is not None:
                Sheet.create(target, self.base, journal).close()
            elif new:
                with staged(target) as stage:
                    lay_out(stage, Card(self.base))
                    with Sheet.open(stage) as copy:
                        copy._extend_from(self)
                return
        with Sheet.open(target, journal) as copy:
            if any(copy.base[key] != self.base[key] for key in ("fingerprint", "task")):
                raise BadSheet(f"{target} is the sheet of another model; choose an empty directory")
            copy._extend_from(self)

    def _extend_from(self, source: Sheet) -> None:
        with self._journal.writing():
            mine, theirs = self.events(), source.events()
            if theirs[: len(mine)] != mine:
                raise BadSheet(f"{self.path} holds events that {source.path} lacks; choose an empty one")
            present = fold(mine).files()
            for name, sha256 in fold(theirs).files().items():
                if name not in present:
                    file = PatchFile(name, sha256)
                    copy_file(source.file(file), self.patches / name, sha256)
                    self._journal.keep(file, self.patches / name)
            sync_directory(self.patches)
            for event in theirs[len(mine) :]:
                self._journal.append(event)

    @contextmanager
    def _recording(self, expect_head: int) -> Iterator[State]:
        with self._journal.writing():
            state = self.state()
            if state.head != expect_head:
                raise BadSheet(f"another process changed this sheet; open it again ({self.path})")
            yield state

    def _append(
        self,
        state: State,
        kind: EventKind,
        payload: Mapping[str, Any],
        stamp: Stamp | None,
        recipe: Recipe | None = None,
    ) -> State:
        event = new_event(state.head + 1, kind, payload, stamp or Stamp(), recipe)
        after = fold([event], state)  # what could not be read back never gets in
        self._journal.append(event)
        return after

    def _replacements(self, state: State, replaced: Mapping[int, PatchFile] | None) -> list[dict[str, Any]]:
        files = replaced or {}
        for seq in files:
            state.unit(seq)
        self._check_written(state, files.values())
        return [{"unit": seq, "patch": file.name, "sha256": file.sha256} for seq, file in files.items()]

    def _check_written(self, state: State, files: Iterable[PatchFile]) -> None:
        known = state.files()
        for file in files:
            path = self.file(file)
            if known.get(file.name, file.sha256) != file.sha256:
                raise BadSheet(f"{file.name} is recorded with another checksum; name every patch file anew")
            if file.name not in known:
                self._journal.keep(file, path)


def _check_ids(state: State, ids: Sequence[str]) -> None:
    taken = set(state.edits)
    for id in ids:
        if id in taken:
            raise BadEdit(f"edit id {id!r} is taken in this sheet; leave the id out or choose another")
        taken.add(id)
