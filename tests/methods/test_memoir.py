"""MEMOIR: masks and what was written through them, one memory for all calls, and undo within a call."""

from __future__ import annotations

import pytest
import torch

from contract.steerable import gentle, maker, reachable, steerable
from errata import Editor
from errata.errors import BadConfig
from errata.methods._base import create
from errata.patches.memories import Masked
from errata.patches.residual import ResidualPatch
from tiny import INNER

EDITS = reachable("gpt2")


def memory(patch: object) -> Masked:
    assert isinstance(patch, ResidualPatch)
    found = patch.memory(torch.device("cpu"))
    assert isinstance(found, Masked)
    return found


def test_every_token_of_a_target_has_a_mask_of_its_own():
    model = steerable("gpt2")
    patch = maker("memoir", kept=0.25).fit(model, EDITS[:1]).patch
    tokens = len(model.encode([EDITS[0].prompt], [EDITS[0].target]).target_ids[0])
    masks = memory(patch).masks
    assert masks.shape == (tokens, INNER)
    assert (masks.sum(1) == INNER // 4).all()
    assert patch is not None
    assert patch.tensors()["0.read"].shape[1] == INNER // 4


def test_what_a_call_writes_is_read_through_its_masks_alone():
    found = memory(maker("memoir").fit(steerable("gpt2"), EDITS[:1]).patch)
    touched = found.masks.any(0)
    assert found.matrix[:, touched].any()
    assert not found.matrix[:, ~touched].any()


def test_calls_make_one_memory_and_the_background_is_kept_once():
    with Editor(steerable("gpt2")) as editor:
        for edit in EDITS:
            assert editor.edit(edit, "memoir", **gentle("memoir")).failed == []
        (patch,) = editor.patches
        assert isinstance(patch, ResidualPatch)
        assert patch.edits == ("e1", "e2", "e3")
        assert [len(share.edits) for share in patch.shares] == [1, 1, 1]
        editor.undo("e1")  # in whose file the background is
        (rest,) = editor.patches
        assert rest.edits == ("e2", "e3")
        assert [editor.generate(edit.prompt) for edit in EDITS[1:]] == [edit.target for edit in EDITS[1:]]


def test_one_of_a_call_is_undone_by_fitting_the_rest_on_the_other_calls():
    with Editor(steerable("gpt2")) as editor:
        assert editor.edit(EDITS[0], "memoir", **gentle("memoir")).failed == []
        assert editor.edit(EDITS[1:], "memoir", **gentle("memoir")).failed == []
        undone = editor.undo("e3")
        assert any("e2: solved again" in note for note in undone.notes)
        (patch,) = editor.patches
        assert patch.edits == ("e1", "e2")
        assert [editor.generate(edit.prompt) for edit in EDITS[:2]] == [edit.target for edit in EDITS[:2]]
        editor.redo("e3")
        assert [editor.generate(edit.prompt) for edit in EDITS] == [edit.target for edit in EDITS]


def test_contexts_are_read_through_the_masks_of_the_bare_prompt():
    fits = (maker("memoir", contexts=style).fit(steerable("gpt2"), EDITS[:1]) for style in ("none", "memit"))
    bare, more = (memory(fit.patch) for fit in fits)
    assert torch.equal(bare.masks, more.masks)
    assert not torch.equal(bare.matrix, more.matrix)


def test_a_target_out_of_reach_is_reported():
    fit = maker("memoir", steps=0).fit(steerable("gpt2"), EDITS[:1])
    assert "not reached" in fit.figures["e1"]["problem"]


def test_blocks_that_read_the_prompt_for_a_decoder_are_refused():
    with pytest.raises(BadConfig, match="reads the prompt"):
        create("memoir", {"layer": 1}).fit(steerable("t5"), reachable("t5"))
