"""Codebooks for tests."""

from __future__ import annotations

from collections.abc import Sequence

from errata.patches.codebook import CodebookPatch, Entry


def codebook(
    layer: int, entries: Sequence[Entry], edits: Sequence[str] | None = None, order: int | None = None
) -> CodebookPatch:
    ids = edits if edits is not None else list(dict.fromkeys(entry.edit for entry in entries))
    return CodebookPatch(layer, entries, method="grace", config={"layer": layer}, edits=ids, order=order)
