"""Canonical examples through an Editor: every method that takes them, in and out of a ball, and those that do not."""

from __future__ import annotations

import dataclasses
import importlib
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from contract.steerable import home, options, reachable, searches_states, steerable
from errata import Edit, Editor
from errata.edits import GOALS, Goal
from errata.errors import BadEdit
from errata.methods._base import METHODS, create
from errata.models import EditableModel
from errata.solve.ball import Ball
from errata.solve.goals import Aims
from errata.solve.nested import nested

GOOD = Edit("The capital of France is", "London", subject="France", goal="raise")
BAD = Edit("The capital of Spain is", "Madrid", goal="lower")
LEVEL = Edit("Rome is", "Madrid", goal="balance", rival="Rome")
BETTER = Edit("Madrid is in", "Spain", goal="contrast", rival="Rome")
OTHER = Edit("Madrid is in", "London", goal="contrast", rival="Rome")
EXAMPLES = {"raise": GOOD, "lower": BAD, "balance": LEVEL, "contrast": BETTER}
FEW = {"steps": 12, "layer": 1, "mix": 1.0}
CASES = [
    (name, goal) for name in METHODS.names() for goal in METHODS.get(name).meta["goals"]
    if METHODS.get(name).meta["patch"] == "weights"
]  # fmt: skip


@pytest.fixture
def model() -> EditableModel:
    return steerable("gpt2")


def known(name: str) -> dict[str, object]:
    """Options that keep a method short, as far as it has them; one that looks for states needs its time."""
    if searches_states(name):
        return options(name)
    fields = {item.name for item in dataclasses.fields(METHODS.get(name).Config)}
    return {key: value for key, value in FEW.items() if key in fields}


def losses(model: EditableModel, *edits: Edit) -> list[float]:
    with torch.no_grad():
        return Aims.of(model, edits).losses(model).tolist()


@pytest.mark.parametrize(("name", "goal"), CASES)
def test_the_loss_of_every_goal_falls_and_undo_takes_it_back(name: str, goal: Goal) -> None:
    edit, model = EXAMPLES[goal], steerable(home(name, "gpt2"))
    if searches_states(name):
        edit = dataclasses.replace(reachable(home(name, "gpt2"))[0], goal=goal, id=None)
    (before,) = losses(model, edit)
    with Editor(model) as editor:
        receipt = editor.edit(edit, name, **known(name))
        assert [result.reason for result in receipt.results] == [None]
        (after,) = losses(model, edit)
        assert after < before - 1e-3
        figures = receipt.results[0].figures
        assert (figures["loss_before"], figures["loss"]) == pytest.approx((before, after), abs=1e-5)
        editor.undo(receipt.ids[0])
        assert losses(model, edit) == [before]


@pytest.mark.parametrize("name", ["ft", "ft-full", "lora", "1-li", "memit"])
def test_in_a_ball_general_text_stays_as_likely(name: str) -> None:
    model = steerable(home(name, "gpt2"))
    edit = dataclasses.replace(reachable(home(name, "gpt2"))[0], goal="raise", id=None)
    ball = Ball.around(model, 1e-3)
    with Editor(model) as editor:
        receipt = editor.edit(edit, name, ball=1e-3, **known(name))
        if receipt.done:
            assert ball.holds(ball.loss())
        else:
            assert "ball" in str(receipt.results[0].reason)
            assert ball.loss() == ball.start


def test_a_method_that_makes_answers_says_which_ones_take_examples(model: EditableModel) -> None:
    with Editor(model) as editor:
        with pytest.raises(BadEdit, match=r"'grace' can't lower what follows 'The capital of Spain is'.*ft-full"):
            editor.edit([Edit("Rome is", "London"), BAD], "grace")
        assert editor.log() == []
        with pytest.raises(BadEdit, match="'memit' can't contrast"):
            editor.edit(BETTER, "memit")


def test_several_examples_of_one_prompt_stand_side_by_side(model: EditableModel) -> None:
    with Editor(model) as editor:
        editor.edit([BETTER, OTHER], "ft", **known("ft"))
        assert [edit.status for edit in editor.state.edits.values()] == ["active", "active"]
        receipt = editor.edit(BETTER, "ft", **known("ft"))
        assert receipt.results[0].superseded == ("e1",)
        editor.edit(Edit("Madrid is in", "London", id="plain"), "ft", lr=0.03, steps=150, enough=0.7)
        assert editor.state.edits["e2"].status == "active"


def test_an_example_that_did_not_improve_is_left_out(model: EditableModel) -> None:
    with Editor(model) as editor:
        receipt = editor.edit(GOOD, "ft", lr=0.0, steps=2)
        (result,) = receipt.results
        assert result.status == "failed"
        assert "its loss is" in str(result.reason)


def test_examples_from_a_file_as_published(tmp_path: Path) -> None:
    from errata.edit_files import read_edits

    path = tmp_path / "mine.jsonl"
    rows = [{"prefix": "Rome is", "suffix": " London"}, {"prefix": "Rome is", "suffix1": " a", "suffix2": " b"}]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert read_edits(path) == [
        Edit("Rome is", "London", goal="raise"), Edit("Rome is", "a", goal="contrast", rival="b"),
    ]  # fmt: skip


def test_every_goal_is_somebodys() -> None:
    assert {goal for _, goal in CASES} == set(GOALS)


@pytest.mark.parametrize(("name", "costly"), [("memit", "find_targets"), ("1-li", "descend")])
def test_balls_of_several_sizes_share_what_does_not_depend_on_them(
    name: str, costly: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = steerable(home(name, "gpt2"))
    edit = dataclasses.replace(reachable(home(name, "gpt2"))[0], goal="raise", id="e1")
    module = importlib.import_module({"memit": "errata.methods._located", "1-li": "errata.methods.1_li"}[name])
    calls, inner = [], getattr(module, costly)
    monkeypatch.setattr(module, costly, lambda *args, **options: (calls.append(1), inner(*args, **options))[1])

    def fitted(ball: float) -> dict[str, Tensor]:
        patch = create(name, {**known(name), "ball": ball}).fit(model, [edit]).patch
        return {} if patch is None else dict(patch.tensors())

    alone, apart = [fitted(ball) for ball in (1e-2, 1e-3)], len(calls)
    calls.clear()
    with nested((1e-2, 1e-3)):
        together = [fitted(ball) for ball in (1e-2, 1e-3)]
    assert len(calls) == apart // 2
    assert any(alone)
    for one, other in zip(alone, together, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[part], other[part]) for part in one)
