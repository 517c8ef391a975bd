"""Two editors, two directories, one database: the same edits, the same answers, and a database that comes and goes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from cluster import Cluster, together
from contract.steerable import OTHERS, PROMPTS, options, steerable, targets
from errata import Edit, Editor
from errata.errors import BadSheet, WrongModel

ARCH = "gpt2"
ASKED = [*PROMPTS, *OTHERS]
EDITS = [Edit(prompt, targets(ARCH, prompt)[0]) for prompt in ASKED[:4]]


@pytest.fixture
def editors(url: str, tmp_path: Path) -> Iterator[tuple[Editor, Editor]]:
    with (
        Editor.open(tmp_path / "one", steerable(ARCH), journal=url) as one,
        Editor.open(tmp_path / "two", steerable(ARCH), journal=url) as two,
    ):
        yield one, two


def edit(editor: Editor, number: int) -> list[str]:
    receipt = editor.edit(EDITS[number], "grace", **options("grace"))
    assert receipt.failed == []
    return receipt.ids


def shown(editor: Editor) -> tuple[dict[str, str], torch.Tensor]:
    """Where the edits stand, and what the model makes of some prompts."""
    editor.undo()  # changes nothing, and takes in what others recorded
    with torch.no_grad():
        batch = editor.tokenizer(ASKED, return_tensors="pt", padding=True)
        logits = editor.model(**batch).logits
    return {id: found.status for id, found in editor.state.edits.items()}, logits


def assert_equal(one: Editor, two: Editor) -> None:
    (here, mine), (there, theirs) = shown(one), shown(two)
    assert here == there
    assert torch.equal(mine, theirs)
    assert one.generate(ASKED, max_new_tokens=4) == two.generate(ASKED, max_new_tokens=4)


def test_each_sees_the_others_edits_and_answers_alike(editors: tuple[Editor, Editor], url: str, tmp_path: Path) -> None:
    one, two = editors
    assert edit(one, 0) == ["e1"]
    assert edit(two, 1) == ["e2"]
    assert_equal(one, two)
    assert two.generate(EDITS[0].prompt, max_new_tokens=4) == EDITS[0].target
    two.undo("e1")
    edit(one, 2)
    assert_equal(one, two)
    assert shown(one)[0] == {"e1": "undone", "e2": "active", "e3": "active"}
    one.redo("e1")
    with Editor.open(tmp_path / "three", steerable(ARCH), journal=url) as three:
        assert_equal(three, two)
    other = steerable(ARCH)
    with torch.no_grad():
        next(other.model.parameters())[0, 0] += 1
    with pytest.raises(WrongModel, match="name another sheet"):
        Editor.open(tmp_path / "four", other, journal=url)


def test_of_two_edits_at_once_one_wins_and_the_other_can_go_on(editors: tuple[Editor, Editor]) -> None:
    one, two = editors
    raised = together(lambda: edit(one, 0), lambda: edit(two, 1))
    lost = [editor for editor, error in zip(editors, raised, strict=True) if error is not None]
    assert len(lost) <= 1  # none when one had ended before the other began
    for editor, number in zip(editors, (0, 1), strict=True):
        if editor in lost:
            assert isinstance(raised[number], BadSheet)
            assert_equal(one, two)
            edit(editor, number)
    assert_equal(one, two)
    assert len(one.state.active()) == 2


def test_an_editor_outlives_its_database(editors: tuple[Editor, Editor], server: Cluster) -> None:
    one, two = editors
    edit(one, 0)
    server.stop()
    try:
        before = one.generate(ASKED, max_new_tokens=4)
        with pytest.raises(BadSheet, match="cannot be reached"):
            edit(one, 1)
        assert one.generate(ASKED, max_new_tokens=4) == before
    finally:
        server.start()
    edit(one, 1)
    server.kill()
    server.start()
    edit(two, 2)
    assert_equal(one, two)
    assert len(one.state.active()) == 3
