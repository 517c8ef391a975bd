"""Codebooks made in one go are the codebooks made step by step, and values change without the keys."""

from __future__ import annotations

import pytest
import torch

from errata.errors import BadPatch
from errata.patches.codebook import CodebookPatch, Entry


def book(names: list[str], layer: int = 1) -> CodebookPatch:
    entries = []
    for name in names:
        state = torch.randn(4, generator=torch.Generator().manual_seed(sum(map(ord, name)))) * 2
        entries.append(Entry(name, state, -state, (len(name), ord(name[-1]) % 2), 1.0, name))
    return CodebookPatch(layer, entries, method="grace", config={}, edits=names)


def same(one: CodebookPatch, other: CodebookPatch) -> bool:
    pairs = ((getattr(one.geometry, name), getattr(other.geometry, name)) for name in ("keys", "values", "radii"))
    return one.edits == other.edits and all(torch.equal(a, b) for a, b in pairs)


def test_joined_is_extended_step_by_step():
    parts = [book(["a", "bb"]), book(["c"]), book(["dd", "e"])]
    step = parts[0]
    for part in parts[1:]:
        step = CodebookPatch.extended(step, part)
    assert same(CodebookPatch.joined(parts), step)


def test_codebooks_of_different_sites_are_not_joined():
    with pytest.raises(BadPatch, match="one layer"):
        CodebookPatch.joined([book(["a"]), book(["b"], layer=2)])


def test_new_values_leave_keys_and_balls_and_the_old_patch_alone():
    before = CodebookPatch.extended(book(["a", "bb"]), book(["c"]))
    old = before.geometry.values.clone()
    after = before.revalued({"c": torch.full((4,), 9.0)})
    assert torch.equal(after.geometry.keys, before.geometry.keys)
    assert torch.equal(after.geometry.radii, before.geometry.radii)
    assert torch.equal(before.geometry.values, old)
    changed = (after.geometry.values != old).any(1)
    assert changed.sum() == 1
    assert torch.equal(after.geometry.values[changed][0], torch.full((4,), 9.0))
    rebuilt = CodebookPatch(1, after.entries, method="grace", config={}, edits=after.edits)
    assert same(rebuilt, after)
