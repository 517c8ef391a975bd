"""What an Editor says and does when it edits: receipts, failures, refusals, dry runs, superseding, explanations."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from contract.marks import logits, marks
from contract.steerable import OTHERS, PROMPTS, UNREACHABLE, options, reachable, steerable, targets
from errata import Edit, Editor
from errata.errors import BadConfig, BadEdit, BadModel, CannotExport, ErrataError, UnknownName
from errata.models import EditableModel

ARCH = "gpt2"
GRACE = options("grace")
ASKED = [*PROMPTS, *OTHERS]


@pytest.fixture
def model() -> EditableModel:
    return steerable(ARCH)


@pytest.fixture
def edits() -> list[Edit]:
    return [dataclasses.replace(edit, id=None) for edit in reachable(ARCH)]


def content(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


def impossible() -> Edit:
    """No state leads to seven different words in a row within one step."""
    return Edit("Vienna and Madrid", "Berlin wrote Rome the London Paris book")


def test_a_receipt_names_every_edit_in_order_with_the_failures(model: EditableModel, edits: list[Edit]) -> None:
    asked = [edits[0], impossible(), edits[1]]
    with Editor(model) as editor:
        receipt = editor.edit(asked, "grace", **(GRACE | {"steps": 40}))
        assert receipt.ids == ["e1", "e2", "e3"]
        assert [result.prompt for result in receipt.results] == [edit.prompt for edit in asked]
        assert [result.status for result in receipt.results] == ["done", "failed", "done"]
        assert [result.id for result in receipt.failed] == ["e2"]
        assert "not reached" in str(receipt.failed[0].reason)
        assert [row["id"] for row in receipt.to_json()] == receipt.ids
        said = editor.generate([edit.prompt for edit in edits[:2]], max_new_tokens=4)
        assert said == [edit.target for edit in edits[:2]]
        assert [edit.id for edit in editor.state.active()] == ["e1", "e3"]
        (event,) = editor.log()
        assert (event.kind, event.method, event.config["steps"]) == ("apply", "grace", 40)


@pytest.mark.parametrize("name", ["grace", "ft", "lora"])
def test_what_cannot_be_reached_fails_and_changes_nothing(name: str, model: EditableModel, edits: list[Edit]) -> None:
    with Editor(model) as editor:
        before = marks(model)
        receipt = editor.edit(edits, name, **options(name, **UNREACHABLE))
        assert [result.status for result in receipt.results] == ["failed"] * 3
        assert all(result.reason for result in receipt.results)
        undone = editor.undo("e2")
        assert (undone.changed, undone.unchanged) == ((), {"e2": "failed"})
        assert editor.redo("e2").changed == ()
        assert marks(model) == before
        assert len(editor.log()) == 1  # the failures are on record, the undo that did nothing is not
        assert editor.diff() == []


def test_a_newer_edit_takes_over_and_its_undo_brings_the_older_back(model: EditableModel, edits: list[Edit]) -> None:
    other = dataclasses.replace(edits[0], target=targets(ARCH, edits[0].prompt)[1])
    with Editor(model) as editor:
        editor.edit(edits[0], "grace", **GRACE)
        assert editor.edit(other, "grace", **GRACE).results[0].superseded == ("e1",)
        assert editor.generate(other.prompt, max_new_tokens=4) == other.target
        assert editor.state.find("e1").status == "superseded"
        editor.undo("e2")
        assert editor.generate(other.prompt, max_new_tokens=4) == edits[0].target
        assert editor.state.find("e1").status == "active"
        editor.undo("e1")
        editor.redo("e2")
        assert editor.generate(other.prompt, max_new_tokens=4) == other.target


def test_a_dry_run_changes_no_byte(model: EditableModel, edits: list[Edit], tmp_path: Path) -> None:
    with Editor.open(tmp_path / "sheet", model) as editor:
        editor.edit(edits[0], "grace", **GRACE)
        said, held = logits(model, ASKED), content(tmp_path / "sheet")
        before = marks(model)
        receipt = editor.edit(edits[1:], "grace", dry_run=True, **GRACE)
        assert receipt.dry_run
        assert [result.status for result in receipt.results] == ["done", "done"]
        assert editor.undo("e1", dry_run=True).changed == ("e1",)
        with pytest.raises(CannotExport):
            editor.export("lora", tmp_path / "out", dry_run=True)
        assert content(tmp_path / "sheet") == held
        assert marks(model) == before
        assert torch.equal(logits(model, ASKED), said)
        assert [edit.id for edit in editor.state.active()] == ["e1"]


REFUSED = {
    "nothing": (lambda e: ([], "grace", {}), BadEdit, "nothing to edit"),
    "one prompt twice": (lambda e: ([e[0], dataclasses.replace(e[0], target="x")], "grace", {}), BadEdit, "same"),
    "one id twice": (lambda e: ([dataclasses.replace(one, id="mine") for one in e[:2]], "grace", {}), BadEdit, "taken"),
    "no edit": (lambda e: (["text"], "grace", {}), BadEdit, "not an Edit"),
    "too long": (lambda e: ([e[0], Edit("Paris " * 90, "x")], "grace", {}), BadEdit, "at most 64"),
    "no such method": (lambda e: (e, "grce", {}), UnknownName, "Did you mean 'grace'"),
    "no such option": (lambda e: (e, "grace", {"raduis": 1.0}), BadConfig, "Did you mean 'radius'"),
    "no number": (lambda e: (e, "grace", {"lr": "fast"}), BadConfig, "a number"),
    "no such layer": (lambda e: (e, "grace", {"layer": 9}), BadConfig, "4 blocks"),
    "no batch": (lambda e: (e, "grace", {"batch_size": -1}), BadConfig, "batch size"),
    "a radius of nothing": (lambda e: (e, "grace", {"radius": 0.0}), ErrataError, "radius"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_makes_no_sense_is_refused_before_anything_happens(
    case: str, model: EditableModel, edits: list[Edit]
) -> None:
    call, error, text = REFUSED[case]
    asked, name, more = call(edits)
    with Editor(model) as editor:
        before = marks(model)
        with pytest.raises(error, match=text) as caught:
            editor.edit(asked, name, **more)
        assert "\n" not in str(caught.value)
        assert isinstance(caught.value, ErrataError)
        assert editor.log() == []
        assert marks(model) == before


def test_an_id_of_the_sheet_is_not_given_twice(model: EditableModel, edits: list[Edit]) -> None:
    with Editor(model) as editor:
        editor.edit(dataclasses.replace(edits[0], id="mine"), "grace", **GRACE)
        with pytest.raises(BadEdit, match="'mine' is taken"):
            editor.edit(dataclasses.replace(edits[1], id="mine"), "grace", **GRACE)
        with pytest.raises(UnknownName, match="Did you mean 'mine'"):
            editor.undo("mime")


def test_nan_weights_are_refused(model: EditableModel) -> None:
    with torch.no_grad():
        model.model.get_output_embeddings().weight[3, 3] = float("nan")
    with pytest.raises(BadModel, match="NaN"):
        Editor(model)


def test_an_explanation_names_the_edit_and_its_distance(model: EditableModel, edits: list[Edit]) -> None:
    with Editor(model) as editor:
        before = editor.generate(edits[1].prompt, max_new_tokens=4)
        editor.edit(edits, "grace", **GRACE)
        told = editor.explain(edits[1].prompt, max_new_tokens=4)
        assert (told.answer, told.before) == (edits[1].target, before)
        (fired,) = told.firings
        assert (fired.edit, fired.edit_prompt, fired.target) == ("e2", edits[1].prompt, edits[1].target)
        assert 0 <= fired.distance <= fired.radius
        assert fired.position == len(model.tokenizer(edits[1].prompt)["input_ids"]) - 1
        assert edits[1].prompt.endswith(fired.token)
        assert "e2" in str(told)
        nothing = editor.explain(OTHERS[0], max_new_tokens=4)
        assert nothing.firings == ()
        assert nothing.answer == nothing.before
        assert "no edit had a part" in str(nothing)


def test_weight_edits_are_named_and_diff_shows_both_answers(model: EditableModel, edits: list[Edit]) -> None:
    with Editor(model) as editor:
        before = editor.generate([edit.prompt for edit in edits], max_new_tokens=4)
        editor.edit(edits, "ft", **options("ft"))
        assert editor.explain(edits[0].prompt, max_new_tokens=4).weights == ("e1", "e2", "e3")
        rows = editor.diff(max_new_tokens=4)
        assert [row.before for row in rows] == before
        assert [row.after for row in rows] == [edit.target for edit in edits]
        assert all(row.holds for row in rows)
        editor.undo("e1", "e2", "e3")
        assert [event.kind for event in editor.log()] == ["apply", "undo"]
        assert editor.diff() == []


def test_a_stream_is_one_apply_an_edit_and_closing_cleans_up(model: EditableModel, edits: list[Edit]) -> None:
    before = marks(model)
    editor = Editor(model)
    receipt = editor.edit(edits, "grace", batch_size=1, **GRACE)
    assert receipt.failed == []
    assert [event.kind for event in editor.log()] == ["apply"] * 3
    editor.close()
    assert marks(model) == before


def test_a_trial_sees_the_patch_in_force_and_what_it_refuses_leaves_nothing(
    model: EditableModel, edits: list[Edit], tmp_path: Path
) -> None:
    seen: list[tuple[list[str], str]] = []

    def look(results: object) -> None:
        seen.append(([result.id for result in results], editor.generate(edits[1].prompt, max_new_tokens=4)))  # type: ignore[attr-defined]
        if len(seen) == 2:
            raise ValueError("refused")

    with Editor.open(tmp_path / "sheet", model) as editor:
        editor.edit(edits[0], "grace", **GRACE)
        receipt = editor.edit(edits[1], "grace", dry_run=True, accept=look, **GRACE)
        before, bits, said = content(tmp_path / "sheet"), marks(model), logits(model, ASKED)
        with pytest.raises(ValueError, match="refused"):
            editor.edit(edits[1], "grace", accept=look, **GRACE)
        assert seen == [(receipt.ids, edits[1].target)] * 2
        assert content(tmp_path / "sheet") == before
        assert (marks(model), torch.equal(logits(model, ASKED), said)) == (bits, True)
        assert [edit.id for edit in editor.state.active()] == ["e1"]
        assert editor.edit(edits[1], "grace", accept=look, **GRACE).ids == ["e2"]


def test_the_model_without_one_edit_or_without_those_solved_with_it(model: EditableModel, edits: list[Edit]) -> None:
    with Editor(model) as editor:
        editor.edit(edits[0], "grace", **GRACE)
        alone = editor.generate([edit.prompt for edit in edits], max_new_tokens=4)
        editor.edit(edits[1], "grace", **GRACE)
        said = logits(model, ASKED)
        with editor.without("e2") as gone:
            assert gone == ("e2",)
            assert editor.generate([edit.prompt for edit in edits], max_new_tokens=4) == alone
        assert torch.equal(logits(model, ASKED), said)
        with pytest.raises(UnknownName), editor.without("e9"):
            pass
        editor.undo("e1", "e2")
        editor.edit(edits[:2], "ft", **options("ft"))
        with editor.without("e4") as gone:
            assert gone == ("e3", "e4")
        with editor.without("e1") as gone:
            assert gone == ()
