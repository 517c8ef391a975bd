"""Ids for the edits of one call, checked against one another and against the sheet. Knows no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from errata.edits import Edit
from errata.errors import BadEdit
from errata.journal.history import State


def named(batch: Sequence[Edit], state: State) -> list[Edit]:
    """The edits, those without an id with the next of the sheet's own (e1, e2, …).

    Raises: BadEdit for an empty batch, something that is no Edit, a prompt that occurs twice, or an id in use.
    """
    if not batch:
        raise BadEdit("there is nothing to edit; give at least one edit")
    first: dict[tuple[str, ...], int] = {}
    for index, edit in enumerate(batch):
        if not isinstance(edit, Edit):
            raise BadEdit(f"edit {index} is {type(edit).__name__}, not an Edit; write Edit(prompt, target)")
        if edit.topic in first:
            raise BadEdit(
                f"edits {first[edit.topic]} and {index} have the same prompt {edit.prompt!r}; "
                "keep one, or make the second in a later call to replace the first"
            )
        first[edit.topic] = index
    taken = set(state.edits) | {edit.id for edit in batch if edit.id}
    fresh = (id for id in state.next_ids(2 * len(batch)) if id not in taken)
    edits = [edit if edit.id else replace(edit, id=next(fresh)) for edit in batch]
    used = set(state.edits)
    for edit in edits:
        if edit.id in used:
            raise BadEdit(f"edit id '{edit.id}' is taken; leave the id out or choose another")
        used.add(str(edit.id))
    return edits
