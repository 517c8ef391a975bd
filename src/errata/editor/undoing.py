"""What an undo or redo has to write: which units change, and new files for those whose edits were solved together.

Plans and solves; records nothing. Knows units and patches as such.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from errata.editor.fitting import settle
from errata.editor.stack import Slot, Stack, standing
from errata.edits import Edit
from errata.errors import ErrataError
from errata.journal.events import PatchFile
from errata.journal.history import Change, State, Unit
from errata.methods._base import create
from errata.models import EditableModel
from errata.patches.base import Inseparable, Patch

Write = Callable[[Patch], PatchFile]


@dataclass(frozen=True)
class Plan:
    """New files by unit, and what the user should know."""

    replaced: dict[int, PatchFile]
    notes: tuple[str, ...]


def plan_change(model: EditableModel, stack: Stack, state: State, change: Change, write: Write | None) -> Plan:
    """What `change` needs besides its record. Without `write` (a dry run) nothing is solved.

    Raises: ErrataError where edits that stay would fail without those that go.
    """
    replaced: dict[int, PatchFile] = {}
    notes: list[str] = []
    changed: dict[Slot, Patch | None] = {}  # what lower units become, on which higher ones are solved
    before = {unit.seq: standing(unit, state) for unit in state.units}
    after = {unit.seq: standing(unit, change.after) for unit in change.after.units}
    present = {id for ids in after.values() for id in ids}
    brought: set[str] = set()  # by the units so far, of what may be in force once only
    for unit in change.after.units:
        wanted = after[unit.seq]
        once = stack.load(unit.patch).once if wanted else frozenset()
        if wanted == before[unit.seq] and brought.isdisjoint(once) and not stack.outdated(unit, wanted, present):
            brought |= once
            continue
        file, patch = unit.patch, None
        try:
            file, patch = stack.part(unit, wanted, present) if wanted else (file, None)
            if patch is not None and not brought.isdisjoint(patch.once):
                raise Inseparable("what it brings comes with an earlier edit now")
        except Inseparable:
            alone = wanted == before[unit.seq]
            why = "undone edits were trained into it" if alone else "the edits of this batch were solved together"
            notes.append(f"{', '.join(wanted)}: solved again, since {why}")
            if write:
                patch = _refitted(model, stack, state, unit, wanted, changed)
                file = write(patch)
        brought |= patch.once if patch is not None else frozenset()
        if patch is not None and patch.slot is None:
            patch.order = unit.seq  # one that comes back may never have been on this stack
            changed["unit", unit.seq] = patch
        elif ("unit", unit.seq) in stack.patches:
            changed["unit", unit.seq] = patch
        if file != unit.patch:
            replaced[unit.seq] = file
        notes += _stacked_on(stack, unit, change.after)
    return Plan(replaced, tuple(dict.fromkeys(notes)))


def _refitted(
    model: EditableModel,
    stack: Stack,
    state: State,
    unit: Unit,
    wanted: Sequence[str],
    changed: Mapping[Slot, Patch | None],
) -> Patch:
    """The edits `wanted` of a jointly solved unit, solved again on what lay below the unit.

    Of a patch that is joined of many units, it lies on all the others.
    """
    edits = [Edit.from_json({**state.edits[id].edit, "id": id}) for id in wanted]
    slot = stack.load(unit.patch).slot
    others = stack.patches[slot].without(unit.edits) if slot in stack.patches else None
    instead = {**changed, slot: others} if slot is not None else changed
    with stack.lowered(unit.seq, instead):
        method = create(str(unit.method), unit.config)
        settled = settle(model, stack, method, edits, unit.seq, alone=True, onto=others)
    if settled.problems or settled.patch is None:
        lost = ", ".join(settled.problems)
        raise ErrataError(f"nothing was changed: solved again, {lost} would fail; change those as well")
    return settled.patch.increment(others)


def _stacked_on(stack: Stack, unit: Unit, after: State) -> list[str]:
    """A note naming the edits that were solved on weights which this change moves."""
    if stack.load(unit.patch).slot is not None:
        return []
    later = [id for other in after.units if other.seq > unit.seq for id in standing(other, after)]
    return [f"solved on top of what changes, check with `errata diff`: {', '.join(later)}"] if later else []
