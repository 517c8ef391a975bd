"""Codebooks as lists of entries: taking edits out, increments, what is refused, and what they tell."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from errata.errors import BadPatch
from errata.patches.codebook import CodebookPatch, Entry, Rules
from errata.patches.weights import LowRank, WeightPatch
from patches.codebooks import codebook


def random_entries(names: Sequence[str], seed: int = 0, width: int = 6) -> list[Entry]:
    generator = torch.Generator().manual_seed(seed)
    return [
        Entry(name, torch.randn(width, generator=generator), torch.randn(width, generator=generator), (n % 3,), 1.0)
        for n, name in enumerate(names)
    ]


def same(one: CodebookPatch, other: CodebookPatch) -> bool:
    tensors, wanted = one.tensors(), other.tensors()
    geometry, expected = one.geometry, other.geometry
    return (
        one.header() == other.header()
        and all(torch.equal(tensors[name], wanted[name]) for name in wanted)
        and geometry.members == expected.members
        and torch.equal(geometry.keys, expected.keys)
        and torch.equal(geometry.radii, expected.radii)
    )


def test_taking_edits_out_is_as_if_they_had_never_been() -> None:
    entries = random_entries("aabbcdeffg")
    patch = codebook(3, entries)
    kept = [entry for entry in entries if entry.edit not in "bf"]
    undone = patch.without({"b", "f"})
    assert isinstance(undone, CodebookPatch)
    assert same(undone, codebook(3, kept))
    assert patch.without({"x"}) is patch
    assert patch.without(set("abcdefg")) is None


def test_an_increment_holds_only_what_is_new_and_puts_it_back() -> None:
    entries = random_entries("abcde")
    previous, whole = codebook(3, entries[:3]), codebook(3, entries)
    increment = whole.increment(previous)
    assert increment.edits == ("d", "e")
    assert increment.entries == tuple(entries[3:])
    for fold_first in (True, False):
        earlier = codebook(3, entries[:3])
        if fold_first:
            assert len(earlier.geometry.keys)
        joined = type(increment).extended(earlier, increment)
        assert isinstance(joined, CodebookPatch)
        assert same(joined, whole)
    assert whole.increment(None).entries == whole.entries
    assert CodebookPatch.extended(None, whole) is whole
    assert CodebookPatch.extended(codebook(3, [], edits=[]), whole).edits == whole.edits


def test_only_codebooks_of_one_place_and_kind_are_joined() -> None:
    entries = random_entries("ab")
    first = codebook(3, entries[:1])
    with pytest.raises(BadPatch, match="layer"):
        CodebookPatch.extended(first, codebook(2, entries[1:]))
    other_rules = CodebookPatch(3, entries[1:], method="grace", config={}, edits=["b"], rules=Rules("average"))
    with pytest.raises(BadPatch, match="rules"):
        CodebookPatch.extended(first, other_rules)
    with pytest.raises(BadPatch, match="twice"):
        CodebookPatch.extended(first, codebook(3, entries[:1]))
    weights = WeightPatch({"x": LowRank(torch.ones(2, 1), torch.ones(1, 2))}, method="ft", config={}, edits=["z"])
    with pytest.raises(BadPatch, match="stack"):
        CodebookPatch.extended(weights, first)


def test_entries_of_unlisted_edits_or_mixed_widths_are_refused() -> None:
    with pytest.raises(BadPatch, match="does not list"):
        codebook(1, random_entries("ab"), edits=["a"])
    with pytest.raises(BadPatch, match="widths"):
        codebook(1, [*random_entries("a"), *random_entries("b", width=7)])


def test_it_describes_itself() -> None:
    entries = [
        Entry("a", torch.zeros(2), torch.zeros(2), (1,), 1.0),
        Entry("b", torch.zeros(2), torch.ones(2), (2,), 1.0),
    ]
    told = codebook(3, entries).describe()
    assert told["kind"] == "codebook"
    assert told["edits"] == ["a", "b"]
    assert (told["layer"], told["keys"], told["entries"], told["superseded"]) == (3, 1, 2, ["a"])
    assert told["bytes"] == sum(t.numel() * 4 for t in codebook(3, entries).tensors().values())


def test_a_firing_names_the_nearest_edit_of_its_key() -> None:
    entries = [
        Entry("a", torch.tensor([0.0, 0.0]), torch.zeros(2), (1,), 1.0),
        Entry("b", torch.tensor([1.5, 0.0]), torch.ones(2), (1,), 1.0),
    ]
    patch = codebook(0, entries)
    hit, index = patch.lookup(torch.tensor([[0.1, 0.0], [1.4, 0.0], [3.0, 0.0]]))
    assert hit.tolist() == [True, True, False]
    assert index.tolist() == [0, 0, -1]
    assert patch.firing(torch.tensor([0.1, 0.0]), 0, 0.1, (4, 7)).edit == "a"
    assert patch.firing(torch.tensor([1.4, 0.0]), 0, 1.4, (4, 7)).edit == "b"
