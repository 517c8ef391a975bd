"""The ensemble as a method: the small model edited here or on a sheet of its own, undone, brought back, refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from contract.marks import marks
from ensembles import big, by_hand, logits_of, small
from errata import Edit, Editor
from errata.errors import BadConfig, BadEdit, BadModel, WrongModel
from errata.methods._base import create
from errata.methods.ensemble import NOT_LENT
from errata.models import EditableModel
from errata.patches.base import Patch
from errata.patches.logits import LogitsPatch
from errata.solve.goals import Aims
from tiny import tiny_model

ASKED = (
    Edit("The capital of France is", "Rome", goal="raise"),
    Edit("Who wrote the book?", "Berlin", goal="raise"),
    Edit("Madrid and Vienna are cities in", "Italy", goal="contrast", rival="Germany"),
)
IDS = torch.tensor([[5, 9, 2, 9, 7, 30], [11, 4, 9, 8, 3, 2]])
TUNED = {"lr": 0.02, "steps": 8}
SETTINGS = "lr=0.02, steps=8"


def saved(model: EditableModel, folder: Path) -> str:
    model.model.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The tiny Backpack on disk."""
    return saved(small(), tmp_path_factory.mktemp("small") / "model")


@pytest.fixture
def sheet(place: str, tmp_path: Path) -> Path:
    """Its sheet: the first edit alone, the others together."""
    with Editor.open(tmp_path / "small", model=place) as editor:
        assert editor.edit(ASKED[0], "ft", **TUNED).failed == []
        assert editor.edit(ASKED[1:], "ft", **TUNED).failed == []
    return tmp_path / "small"


def parts_of(sheet: Path, *undone: str) -> list[Patch]:
    """The small model's own patches without some of its edits."""
    with Editor.open(sheet) as editor:
        if undone:
            editor.undo(*undone)
        return editor.patches


def said(editor: Editor) -> Tensor:
    return logits_of(editor.editable, IDS)


def heard(patches: list[Patch], beta: float = 1.0) -> Tensor:
    return by_hand(big(), small(), patches, beta, IDS)


def test_the_small_model_is_edited_and_the_big_one_hears_it(place: str) -> None:
    listening = big()
    before = marks(listening)
    with Editor(listening) as editor:
        receipt = editor.edit(ASKED, "ensemble", small=place, by="ft", settings=SETTINGS, beta=0.8)
        assert [result.status for result in receipt.results] == ["done"] * 3
        assert receipt.results[0].figures["beta"] == 0.8
        assert receipt.results[0].figures["steps"] == 8
        (now,) = Aims.of(listening, ASKED[:1]).losses(listening).tolist()
        assert receipt.results[0].figures["loss"] == pytest.approx(now, abs=1e-5)  # the big model's
        (patch,) = editor.patches
        assert isinstance(patch, LogitsPatch)
        assert (patch.edits, patch.ids) == (("e1", "e2", "e3"),) * 2
        named = [Edit.from_json({**edit.to_json(), "id": f"e{n}"}) for n, edit in enumerate(ASKED, 1)]
        alone = create("ft", TUNED).fit(small(), named).patch
        assert alone is not None
        torch.testing.assert_close(said(editor), heard([alone], 0.8), atol=3e-5, rtol=1e-5)
        # Solved together by a method whose edits do not come apart: solved again without the second.
        editor.undo("e2")
        rest = create("ft", TUNED).fit(small(), [named[0], named[2]]).patch
        assert rest is not None
        torch.testing.assert_close(said(editor), heard([rest], 0.8), atol=3e-5, rtol=1e-5)
    assert marks(listening) == before


def test_a_sheet_is_carried_over_and_edits_of_it_are_undone_and_brought_back(sheet: Path, tmp_path: Path) -> None:
    out, events = tmp_path / "big", len(Editor.open(sheet).log())
    with Editor.open(out, model=big()) as editor:
        plain = said(editor)
        receipt = editor.edit(ASKED[::-1], "ensemble", sheet=str(sheet), beta=1.0)
        assert [result.status for result in receipt.results] == ["done"] * 3
        (patch,) = editor.patches
        assert isinstance(patch, LogitsPatch)
        assert patch.ids == ("e3", "e2", "e1")
        assert [part.edits for part in patch.patches] == [("e1",), ("e2", "e3")]
        assert [edit.edit["target"] for edit in editor.state.active()] == ["Italy", "Berlin", "Rome"]
        whole = said(editor)
        torch.testing.assert_close(whole, heard(parts_of(sheet)), atol=3e-5, rtol=1e-5)
        assert editor.undo("e3").changed == ("e3",)  # there e1, a patch of its own
        torch.testing.assert_close(said(editor), heard(parts_of(sheet)[1:]), atol=3e-5, rtol=1e-5)
        editor.redo("e3")
        assert torch.equal(said(editor), whole)
        undone = editor.undo("e1")  # there e3, solved together with e2: solved again in a copy of the sheet
        assert any("solved again" in note for note in undone.notes)
        without = said(editor)
    copy = tmp_path / "copy"
    with Editor.open(sheet) as source:
        source.save(copy)
        assert len(source.log()) == events
    torch.testing.assert_close(without, heard(parts_of(copy, "e3")), atol=3e-5, rtol=1e-5)
    with Editor.open(out, model=big()) as again:
        assert torch.equal(said(again), without)
        again.undo("e2", "e3")
        assert torch.equal(said(again), plain)


def test_an_edit_that_the_small_models_sheet_lacks_fails_alone(sheet: Path) -> None:
    with Editor(big()) as editor:
        other = Edit("London is in", "Spain", goal="raise")
        receipt = editor.edit([ASKED[0], other], "ensemble", sheet=str(sheet), beta=1.0)
        assert [(result.status, result.reason) for result in receipt.results] == [("done", None), ("failed", NOT_LENT)]
        torch.testing.assert_close(said(editor), heard(parts_of(sheet)[:1]), atol=3e-5, rtol=1e-5)


def test_beta_is_the_strongest_in_the_ball_or_nothing_is_done(sheet: Path) -> None:
    listening = big()
    with Editor(listening) as editor:
        receipt = editor.edit(ASKED, "ensemble", sheet=str(sheet), ball=1e3)
        figures = receipt.results[0].figures
        assert figures["beta"] == 1.0
        assert figures["general"] != figures["general_before"] > 0
        editor.undo(*receipt.ids)
        before = marks(listening)
        for result in editor.edit(ASKED, "ensemble", sheet=str(sheet), ball=1e-12).results:
            # on text that a random model cannot read an edit may well lower the loss
            assert result.status == "done" or "nothing fits into the ball of 1e-12" in str(result.reason)
        assert editor.patches or marks(listening) == before


def test_what_cannot_be_an_ensemble_is_refused(place: str, sheet: Path, tmp_path: Path) -> None:
    for beta in (0.0, 1.2, -1.0):
        with pytest.raises(BadConfig, match="above 0 and at most 1"):
            create("ensemble", {"small": place, "beta": beta})
    with pytest.raises(BadConfig, match="ball"):
        create("ensemble", {"ball": 0})
    with pytest.raises(BadConfig, match="needs a small model"):
        create("ensemble").fit(big(), ASKED)
    with pytest.raises(BadConfig, match="'lr 3'"):
        create("ensemble", {"small": place, "settings": "lr 3"}).fit(big(), ASKED)
    with pytest.raises(BadModel, match=r"'ensemble' edits models that write on .*use another"):
        create("ensemble", {"small": place}).fit(tiny_model("bert"), ASKED)
    with pytest.raises(BadEdit, match="grace"):
        create("ensemble", {"small": place, "by": "grace"}).fit(big(), ASKED)
    reader = saved(tiny_model("bert"), tmp_path / "reader")
    with pytest.raises(BadModel, match="made of causal models"):
        create("ensemble", {"small": reader}).fit(big(), ASKED)
    other = saved(tiny_model("gpt2"), tmp_path / "other")
    with pytest.raises(WrongModel, match=r"is the sheet of .* is another model"):
        create("ensemble", {"small": other, "sheet": str(sheet)}).fit(big(), ASKED)
    odd = big()
    odd.tokenizer.add_tokens(["Atlantis"])
    with pytest.raises(WrongModel, match="differ in their vocabularies"):
        create("ensemble", {"small": place, "by": "ft"}).fit(odd, ASKED)
