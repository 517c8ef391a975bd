"""The patches in force on one model, kept equal to what a sheet's state says.

Knows units of the journal, patch files and composition: increments of one codebook become one patch, and other patches
stand alone in the order of their units. Knows no method and decides nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from errata.errors import BadPatch
from errata.journal.events import PatchFile
from errata.journal.history import State, Unit
from errata.models import EditableModel
from errata.patches.base import Inseparable, Patch
from errata.patches.files import load_patch
from errata.sheet import Sheet

Slot = tuple[Any, ...]
Part = tuple[str, tuple[str, ...]]  # SHA-256 of a file, and the edits that are taken of it


def standing(unit: Unit, state: State) -> list[str]:
    """Edits of a unit that are in force. A superseded edit is: what came later was solved on top of it."""
    return [id for id in unit.edits if state.edits[id].status != "undone"]


@dataclass(frozen=True)
class _Joined:
    """A patch, and what it was made of, in order."""

    parts: tuple[Part, ...]
    patch: Patch


class Stack:
    """One model's patches, by slot, in stack order."""

    def __init__(self, model: EditableModel, sheet: Sheet) -> None:
        self.model, self.sheet = model, sheet
        self.patches: dict[Slot, Patch] = {}
        self._files: dict[str, Patch] = {}
        self._joined: dict[Slot, _Joined] = {}  # as planned last

    def load(self, file: PatchFile) -> Patch:
        """The patch in a file of the sheet, checked against its recorded checksum and the sheet's base model."""
        if file.sha256 not in self._files:
            path = self.sheet.file(file)
            fingerprint = self.sheet.base["fingerprint"]
            self._files[file.sha256] = load_patch(path, expect_sha256=file.sha256, fingerprint=fingerprint)
        return self._files[file.sha256]

    def part(
        self, unit: Unit, wanted: Collection[str], standing: Collection[str]
    ) -> tuple[PatchFile, Patch | None]:
        """The unit's file, current or earlier, that can stand for exactly the edits `wanted`, and its patch for them.

        `standing` are all edits in force: a patch into which others were trained again is of no use, and the one that
        repeats most of what is in force comes first.
        Raises: Inseparable if none can; they have to be solved again then.
        """
        newest_first = unit.files[::-1]
        for file in sorted(newest_first, key=lambda one: -len(self.load(one).repeats)):
            patch = self.load(file)
            if set(wanted) <= set(patch.edits) and patch.repeats <= set(standing):
                try:
                    return file, patch.without([id for id in patch.edits if id not in wanted])
                except Inseparable:
                    continue
        raise Inseparable(f"edits {', '.join(unit.edits)} were solved together and cannot be taken apart")

    def outdated(self, unit: Unit, wanted: Collection[str], standing: Collection[str]) -> bool:
        """Whether the unit's file repeats other edits than it should, given those `standing`, though its own stay."""
        if not any(self.load(file).repeats for file in unit.files):
            return False
        try:
            return self.part(unit, wanted, standing)[0] != unit.patch
        except Inseparable:
            return True

    def plan(self, state: State) -> dict[Slot, Patch]:
        """The patches that `state` asks for. One that was planned before and has only grown is extended."""
        parts: dict[Slot, dict[Part, Patch]] = {}
        orders: dict[Slot, int] = {}
        for unit in state.units:
            wanted = standing(unit, state)
            if not wanted:
                continue
            patch = self.load(unit.patch)
            patch = patch.without([id for id in patch.edits if id not in wanted])
            if patch is None or set(patch.edits) != set(wanted):
                raise BadPatch(f"{unit.patch.name} does not hold the edits {', '.join(wanted)}; restore the sheet")
            slot = patch.slot or ("unit", unit.seq)
            parts.setdefault(slot, {})[unit.patch.sha256, patch.edits] = patch
            orders.setdefault(slot, unit.seq)
        self._joined = {slot: self._join(slot, found, state) for slot, found in parts.items()}
        for slot, joined in self._joined.items():
            joined.patch.order = orders[slot]
        return {slot: joined.patch for slot, joined in self._joined.items()}

    def _join(self, slot: Slot, found: Mapping[Part, Patch], state: State) -> _Joined:
        """One patch of these parts, on top of what is joined already where that is how they begin."""
        earlier, parts = self._joined.get(slot), tuple(found)
        if earlier is None or parts[: len(earlier.parts)] != earlier.parts:
            patches = self._complete(list(found.values()), state)
            return _Joined(parts, type(patches[0]).joined(patches))
        patch = earlier.patch
        for part in parts[len(earlier.parts) :]:
            patch = type(patch).extended(patch, found[part])
        return _Joined(parts, patch)

    def _complete(self, parts: list[Patch], state: State) -> list[Patch]:
        """With what partial increments need, which may lie in the file of a unit of which no edit stands."""
        if not all(part.partial for part in parts):
            return parts
        for unit in state.units:
            for file in unit.files if unit.method == parts[0].method else ():
                patch = self.load(file)
                if patch.slot == parts[0].slot and not patch.partial:
                    return [patch.shell(), *parts]
        raise BadPatch(f"no file of the sheet holds what edits {', '.join(parts[0].edits)} need; restore the sheet")

    def show(self, state: State) -> None:
        """Bring the model to `state`; slots that do not change are left attached."""
        planned = self.plan(state)
        for slot, patch in self.patches.items():
            kept = planned.get(slot)
            if kept is not None and _alike(kept, patch):
                planned[slot] = patch
            else:
                patch.detach(self.model)
        for patch in planned.values():
            patch.attach(self.model)
        self.patches = planned

    def put(self, slot: Slot, patch: Patch) -> None:
        """Attach a new patch in `slot`, in place of what was there."""
        if slot in self.patches:
            self.patches[slot].detach(self.model)
        patch.attach(self.model)
        self.patches[slot] = patch

    def remember(self, file: PatchFile, patch: Patch) -> None:
        """Keep what was just written, so that it is not read back."""
        self._files[file.sha256] = patch

    @contextmanager
    def lowered(self, below: int = 0, instead: Mapping[Slot, Patch | None] | None = None) -> Iterator[None]:
        """Inside, only the patches of order less than `below`, some of them exchanged; all as they were after."""
        swapped = instead or {}
        resting = [p for slot, p in self.patches.items() if (p.order or 0) >= below or slot in swapped]
        visiting = [patch for patch in swapped.values() if patch is not None]
        for patch in resting:
            patch.detach(self.model)
        try:
            for patch in visiting:
                patch.attach(self.model)
            yield
        finally:
            for patch in visiting:
                patch.detach(self.model)
            for patch in resting:
                patch.attach(self.model)


def _alike(one: Patch, other: Patch) -> bool:
    return (one.edits, one.repeats, one.order) == (other.edits, other.repeats, other.order)
