"""SERAC from training to a sheet: what it learns, what a sheet keeps of it, and what undoing leaves."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path

import pytest
import torch

from contract.marks import logits, marks
from contract.steerable import PROMPTS, steerable, targets
from errata import Edit, Editor
from errata.edits import Probe
from errata.errors import BadConfig, BadModel
from errata.learn.lessons import lessons
from errata.learn.scope import scope_loss
from errata.learn.trained import TrainedEditor
from errata.methods._base import create
from errata.methods.serac import Serac
from errata.patches.codebook import CodebookPatch
from errata.patches.files import load_patch
from errata.patches.router import RouterPatch

OPTIONS = {"steps": 160, "every": 40, "batch": 3, "lr": 3e-3, "blocks": 2, "scope_blocks": 1, "width": 16}
REPHRASED = "Rome: "  # a wording that the same words follow


def taught(arch: str, count: int = 3) -> list[Edit]:
    """Every prompt with several targets, asked in two wordings; the other prompts must stay."""
    return [
        Edit(
            prompt, target, subject=prompt, rephrases=(REPHRASED + prompt,),
            locality=tuple(Probe(other) for other in PROMPTS if other != prompt),
        )
        for prompt in PROMPTS for target in (targets(arch, prompt) * 2)[:count]
    ]  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory):
    root = tmp_path_factory.mktemp("editors")

    @cache
    def make(arch: str) -> Path:
        edits = taught(arch)
        create("serac", OPTIONS).train(steerable(arch), edits, root / arch, validation=edits)  # type: ignore[attr-defined]
        return root / arch

    return make


def edits(arch: str) -> list[Edit]:
    return [Edit(prompt, targets(arch, prompt)[0]) for prompt in PROMPTS]


def said(editor: Editor, *prompts: str) -> list[str]:
    return editor.generate(list(prompts or PROMPTS), max_new_tokens=4)


@pytest.mark.parametrize("arch", ["t5", "bert"])
def test_edits_and_their_rephrasings_are_answered_and_undone(trained, arch: str):
    model = steerable(arch)
    before, own = marks(model), said(editor := Editor(model))
    receipt = editor.edit(edits(arch), "serac", editor=str(trained(arch)))
    assert receipt.failed == []
    assert all(result.figures["similarity"] > 0.5 for result in receipt.results)
    wanted = [edit.target for edit in edits(arch)]
    assert said(editor) == wanted
    assert said(editor, *(REPHRASED + prompt for prompt in PROMPTS)) == wanted
    editor.undo("e2")
    assert said(editor) == [wanted[0], own[1], wanted[2]]
    editor.redo("e2")
    editor.undo("e1", "e3")
    assert said(editor) == [own[0], wanted[1], own[2]]
    editor.undo("e2")
    assert marks(model) == before


def test_a_newer_edit_of_a_prompt_wins_until_it_is_undone(trained):
    old, new = targets("t5", PROMPTS[0])[:2]
    with Editor(steerable("t5")) as editor:
        for target in (old, new):
            assert editor.edit(Edit(PROMPTS[0], target), "serac", editor=str(trained("t5"))).failed == []
        assert said(editor)[0] == new
        editor.undo("e2")
        assert said(editor)[0] == old


def test_a_sheet_holds_the_networks_once_and_stands_without_the_editor(trained, tmp_path: Path):
    place = tmp_path / "editor"
    shutil.copytree(trained("t5"), place)
    wanted = [edit.target for edit in edits("t5")]
    with Editor.open(tmp_path / "sheet", model=steerable("t5")) as editor:
        for edit in edits("t5"):
            editor.edit(edit, "serac", editor=str(place))
        assert len(editor.patches) == 1
        assert said(editor) == wanted
        sizes = [path.stat().st_size for path in sorted((tmp_path / "sheet" / "patches").iterdir())]
        assert max(sizes[1:]) < 0.1 * sizes[0]
        editor.undo("e1")  # whose file holds the networks
        assert said(editor)[1:] == wanted[1:]
        expected = logits(editor.editable, list(PROMPTS))
    shutil.rmtree(place)
    shutil.copytree(tmp_path / "sheet", tmp_path / "copy")
    shutil.rmtree(tmp_path / "sheet")
    with Editor.open(tmp_path / "copy", model=steerable("t5")) as editor:
        assert torch.equal(logits(editor.editable, list(PROMPTS)), expected)
        editor.redo("e1")
        assert said(editor) == wanted
        editor.undo("e1", "e2", "e3")
        assert editor.patches == []


def test_after_all_are_undone_the_networks_are_kept_anew(trained):
    with Editor(steerable("t5")) as editor:
        editor.edit(edits("t5")[0], "serac", editor=str(trained("t5")))
        editor.undo("e1")
        editor.edit(edits("t5")[1], "serac", editor=str(trained("t5")))
        files = [load_patch(editor.sheet.file(unit.patch)) for unit in editor.state.units]
        assert [one.partial for one in files] == [False, False]
        editor.redo("e1")
        assert said(editor)[:2] == [edit.target for edit in edits("t5")[:2]]


def test_explain_says_which_edit_answered_and_how_near(trained):
    with Editor(steerable("t5")) as editor:
        editor.edit(edits("t5")[:1], "serac", editor=str(trained("t5")))
        explained = editor.explain(REPHRASED + PROMPTS[0], max_new_tokens=4)
        (fired,) = explained.firings
        assert (fired.edit, fired.target) == ("e1", explained.answer)
        assert 0 < fired.distance < fired.radius
        assert explained.weights == ()
        assert editor.explain(PROMPTS[1], max_new_tokens=4).firings == ()


def test_other_methods_work_beside_it(trained):
    first, second, _ = edits("t5")
    with Editor(steerable("t5")) as editor:
        editor.edit(first, "serac", editor=str(trained("t5")))
        assert editor.edit(second, "grace", lr=0.5, steps=200, lead=0.5, radius=0.5).failed == []
        assert any(isinstance(patch, CodebookPatch) for patch in editor.patches)
        assert said(editor)[:2] == [first.target, second.target]
        editor.undo("e1")
        assert said(editor)[1] == second.target


def test_an_edit_that_the_counterfactual_model_misses_is_left_out(trained):
    with Editor(steerable("t5")) as editor:
        own = said(editor)
        receipt = editor.edit([edits("t5")[0], Edit(PROMPTS[1], "Paris Rome")], "serac", editor=str(trained("t5")))
        assert [one.id for one in receipt.failed] == ["e2"]
        assert said(editor) == [edits("t5")[0].target, *own[1:]]
        (patch,) = editor.patches
        assert isinstance(patch, RouterPatch)
        assert patch.edits == ("e1",)


def test_an_edit_without_room_says_so(trained):
    model = steerable("bert")
    long = Edit("city " * 14, "yes", id="a")
    assert model.encode([long.prompt]).input_ids.shape[1] <= (model.context or 0)
    fit = create("serac", {"editor": str(trained("bert"))}).fit(model, [long])
    assert fit.patch is None
    assert "longer than the" in fit.figures["a"]["problem"]


def test_an_edit_out_of_its_own_scope_says_so(trained):
    method = create("serac", {"editor": str(trained("t5")), "threshold": 1 - 1e-7})
    fit = method.fit(steerable("t5"), [Edit(PROMPTS[0], "Paris", id="a")])
    assert "out of its scope" in fit.figures["a"]["problem"]


def test_another_threshold_makes_another_router(trained):
    model = steerable("t5")
    first = create("serac", {"editor": str(trained("t5"))})
    patch = first.fit(model, [Edit(PROMPTS[0], "Paris", id="a")]).patch
    assert patch is not None
    assert first.extends(model, patch)
    assert not create("serac", {"editor": str(trained("t5")), "threshold": 0.9}).extends(model, patch)
    with pytest.raises(BadConfig, match="trained with blocks 2"):
        create("serac", {"editor": str(trained("t5")), "blocks": 3}).fit(model, [Edit(PROMPTS[0], "Paris", id="a")])


def test_a_label_may_be_given_by_its_number(trained):
    model = steerable("bert")
    number = str(model.labels.index("yes"))
    patches = [
        create("serac", {"editor": str(trained("bert"))}).fit(model, [Edit(PROMPTS[0], target, id="a")]).patch
        for target in ("yes", number)
    ]
    one, other = (patch.tensors() for patch in patches if patch is not None)
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_a_threshold_out_of_range_is_refused(trained):
    with pytest.raises(BadConfig, match="between 0 and 1"):
        create("serac", {"editor": str(trained("t5")), "threshold": 1.0}).fit(steerable("t5"), edits("t5"))


def test_without_an_editor_it_says_how_to_train_one():
    with pytest.raises(BadConfig, match="errata train"):
        create("serac").fit(steerable("t5"), edits("t5"))
    with pytest.raises(BadModel, match="use mend"):
        create("serac").fit(steerable("gpt2"), [Edit(PROMPTS[0], "Paris", id="a")])


def test_the_balanced_loss_by_hand():
    half, tenth = torch.log(torch.tensor([0.5, 0.1])).tolist()
    inside = torch.tensor([[half, tenth], [tenth, half]])
    outside = torch.tensor([[half, -9.0, tenth], [-9.0, tenth, -9.0]])
    owners = torch.tensor([0, 1, 0])
    # Together: -log .5. Apart: own probes of similarity .5, .1, .1, and the other edit's prompts of .1, .1.
    probes = -(torch.log(torch.tensor([0.5, 0.9, 0.9]))).mean()
    expected = -half + (probes - torch.log(torch.tensor(0.9))) / 2
    torch.testing.assert_close(scope_loss(inside, outside, owners), expected)
    alone = scope_loss(inside[:1, :1], outside[:1, :1], owners[:1])
    torch.testing.assert_close(alone, torch.tensor(-2 * half))


def test_equal_texts_that_should_be_apart_give_a_finite_loss():
    same = torch.zeros(1, 1, requires_grad=True)
    loss = scope_loss(same, same, torch.tensor([0]))
    loss.backward()
    assert loss.isfinite()
    assert same.grad is not None
    assert same.grad.isfinite().all()


def test_training_goes_on_from_its_own_state(tmp_path: Path):
    """Halfway tensors taken out and put back give the steps that an uninterrupted training takes."""
    import random

    config = create("serac", OPTIONS).config
    courses = []
    taken = lessons(taught("t5"), seed=0, validation=taught("t5"))
    for again in (False, True):
        model = steerable("t5")
        with model.preserved():
            course = Serac(config).course(model, taken)
            told = course.step(taken.batch(0, 3), random.Random(0))
            if again:
                kept = course.state()
                course = Serac(config).course(model, taken)
                course.load(kept)
            courses.append((told, course.step(taken.batch(1, 3), random.Random(1)), course.validate(taken.validation)))
    assert courses[0] == courses[1]


def test_an_editor_is_its_own_parts_alone(trained):
    """The embedding table is the model's: an editor holds no copy of it."""
    editor = TrainedEditor.load(trained("t5"))
    assert not any("shared" in name or "embed_tokens" in name or "lm_head" in name for name in editor.tensors)
    assert {name.partition(".")[0] for name in editor.tensors} == {"scope", "counterfactual"}
