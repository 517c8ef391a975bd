"""WISE: what keeps a side memory quiet, its shards, and what it keeps of them."""

from __future__ import annotations

from typing import Any

import torch

from contract.steerable import maker, reachable, steerable
from errata import Edit
from errata.edits import Probe
from errata.patches.memories import Distances, Routed
from errata.patches.residual import ResidualPatch
from errata.solve.residuals import read_inputs

EDITS = reachable("gpt2")
CPU = torch.device("cpu")


def fitted(edit: Edit, previous: ResidualPatch | None = None, **more: Any) -> ResidualPatch:
    patch = maker("wise", **more).fit(steerable("gpt2"), [edit], previous).patch
    assert isinstance(patch, ResidualPatch)
    return patch


def memory(patch: ResidualPatch) -> Routed:
    found = patch.memory(CPU)
    assert isinstance(found, Routed)
    return found


def test_a_shard_changes_only_its_own_entries():
    patch = fitted(EDITS[0])
    assert isinstance(patch.rule, Distances)
    (matrix, least), *others = memory(patch).matrices()
    entries = patch.rule.entries(0, *patch.size_of)
    assert not others
    assert least == patch.shares[0].nearest > 0
    assert matrix[entries].any()
    assert not matrix[~entries].any()
    assert abs(float(entries.float().mean()) - 0.2) < 0.05
    assert not torch.equal(entries, patch.rule.entries(1, *patch.size_of))


def test_a_full_shard_is_followed_by_another():
    patch = None
    for edit in EDITS:
        patch = fitted(edit, patch, shard=1, merge=1, steps=3)
    assert patch is not None
    assert [share.shard for share in patch.shares] == [0, 1, 2]
    assert len(memory(patch).matrices()) == 3
    merged = None
    for edit in EDITS:
        merged = fitted(edit, merged, shard=1, merge=2, steps=3)
    assert merged is not None
    assert len(memory(merged).matrices()) == 2  # the first two have become one


def test_little_is_made_of_an_edits_locality_prompts():
    probes = tuple(Probe(edit.prompt) for edit in EDITS[1:])
    edit = Edit(EDITS[0].prompt, EDITS[0].target, locality=probes, id="e1")
    made = []
    for told in (True, False):
        patch = fitted(edit, probes=told, others=8, weight=1.0)
        model = steerable("gpt2")
        inputs = read_inputs(model, [probe.prompt for probe in probes], patch.layer)
        ((matrix, least),) = memory(patch).matrices()
        made.append(float((inputs @ matrix.T).norm(dim=1).max()) / least)
    assert made[0] < 0.9 * made[1]
