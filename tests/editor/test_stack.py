"""The stack plans from what it planned before, and plans the same as one that never planned."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from contract.steerable import options, reachable, steerable
from errata import Editor
from errata.editor.stack import Stack
from errata.patches.base import Patch
from errata.patches.codebook import CodebookPatch

ARCH = "gpt2"
GRACE: dict[str, Any] = options("grace") | {"steps": 40}


@pytest.fixture
def editor() -> Iterator[Editor]:
    """Three edits, one call each, so that they are three files of one codebook."""
    with Editor(steerable(ARCH)) as opened:
        for edit in reachable(ARCH)[:3]:
            opened.edit(dataclasses.replace(edit, id=None), "grace", **GRACE)
        assert [edit.status for edit in opened.state.edits.values()] == ["active"] * 3
        yield opened


def planned(stack: Stack) -> CodebookPatch:
    (patch,) = stack.plan(stack.sheet.state()).values()
    assert isinstance(patch, CodebookPatch)
    patch.prepare(torch.device("cpu"))
    return patch


def assert_alike(one: CodebookPatch, other: CodebookPatch) -> None:
    assert (one.edits, one.order, one.config) == (other.edits, other.order, other.config)
    for name in ("keys", "values", "radii", "labels"):
        assert torch.equal(getattr(one.geometry, name), getattr(other.geometry, name)), name
    assert one.geometry.members == other.geometry.members


def beside(editor: Editor) -> Stack:
    """Another view of the same sheet."""
    return Stack(editor.editable, editor.sheet)


def test_what_was_planned_is_what_a_new_stack_plans(editor: Editor) -> None:
    stack = beside(editor)
    planned(stack)
    for ids, kind in (("e2",), "undo"), (("e2",), "redo"), (("e3",), "undo"), (("e1", "e3"), "redo"), (("e1",), "undo"):
        getattr(editor, kind)(*ids)
        assert_alike(planned(stack), planned(beside(editor)))


def test_a_codebook_that_grew_is_extended_and_not_derived_anew(
    editor: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor.undo("e3")
    stack = beside(editor)
    before = planned(stack)
    assert planned(stack) is before
    joins = list[int]()
    whole = CodebookPatch.joined

    def counted(parts: list[Patch]) -> Patch:
        joins.append(len(parts))
        return whole(parts)

    monkeypatch.setattr(CodebookPatch, "joined", counted)
    editor.redo("e3")
    joins.clear()
    after = planned(stack)
    assert (before.edits, after.edits, joins) == (("e1", "e2"), ("e1", "e2", "e3"), [])
    assert_alike(after, planned(beside(editor)))
    editor.undo("e1")
    joins.clear()
    assert planned(stack).edits == ("e2", "e3")
    assert joins == [2]
