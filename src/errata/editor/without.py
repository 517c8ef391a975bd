"""A look at the model without one edit, so that what the edit alone moved can be told from what others did.

Knows the stack and what can be taken out of a patch; it asks the model nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from errata.editor.stack import Slot, Stack
from errata.journal.history import State
from errata.patches.base import Inseparable, Patch


@contextmanager
def without(stack: Stack, state: State, id: str) -> Iterator[tuple[str, ...]]:
    """Inside, the edit `id` is not in force, nor those that were solved together with it; gives the ids of all these.

    None if the edit is not in force anyway. What was solved on top of it stays as it is. Raises: UnknownName.
    """
    state.find(id)
    slot, patch, gone = _holding(stack, id)
    if slot is None:
        yield ()
        return
    with stack.lowered(state.head + 1, {slot: patch}):
        yield gone


def _holding(stack: Stack, id: str) -> tuple[Slot | None, Patch | None, tuple[str, ...]]:
    """Where the edit is in force, what stays of that patch without it, and which edits go."""
    for slot, patch in stack.patches.items():
        if id in patch.edits:
            try:
                return slot, patch.without([id]), (id,)
            except Inseparable:
                return slot, None, patch.edits
    return None, None, ()
