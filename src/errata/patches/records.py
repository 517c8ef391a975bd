"""Patches that can tell when an edit of theirs answers, and who is told.

Knows patches and lists. What a firing holds is in `states`.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from errata.patches.base import Patch

if TYPE_CHECKING:
    from errata.patches.states import Firing

_RECORDS: weakref.WeakKeyDictionary[Patch, list[list[Firing]]] = weakref.WeakKeyDictionary()


class RecordedPatch(Patch):
    """A patch whose edits answer some prompts and leave the others alone, and which can tell them apart."""

    @contextmanager
    def record(self) -> Iterator[list[Firing]]:
        """Within the context the list grows by every answer of an edit, on all models the patch is attached to."""
        firings: list[Firing] = []
        lists = _RECORDS.setdefault(self, [])
        lists.append(firings)
        try:
            yield firings
        finally:
            lists[:] = [one for one in lists if one is not firings]


def listening(patch: Patch) -> list[list[Firing]]:
    """The lists that are to grow by what the patch does now."""
    return _RECORDS.get(patch, [])
