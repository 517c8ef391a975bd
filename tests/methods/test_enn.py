"""ENN: the step by hand, how it is learned, and that the trained difference is in force once, whatever is undone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from contract.marks import marks
from contract.steerable import lessons_for, reachable, steerable, trained
from errata import Edit, Editor
from errata.learn.inner import Editable, EditableTraining, Weights, changed, measured_units
from errata.learn.objective import with_answers
from errata.learn.trained import TrainedEditor
from errata.methods._base import create
from errata.methods.enn import Enn
from errata.models import EditableModel
from errata.models.factors import gradient_factors
from errata.models.hooks import as_matrix
from errata.models.losses import target_loss
from errata.patches.weights import WeightPatch, attached_patches, parameter_view

FIRST, SECOND, THIRD = reachable("gpt2")
SHORT = {"steps": 4, "every": 2, "batch": 4}


def learner(**options: object) -> Enn:
    made = create("enn", {**SHORT, **options})
    assert isinstance(made, Enn)
    return made


def using(arch: str = "gpt2") -> dict[str, str]:
    return {"editor": str(trained("enn", arch))}


def whole(editor: TrainedEditor, name: str) -> torch.Tensor:
    """The trained difference of the parameter `name`."""
    paths = editor.facts["matrices"]
    return editor.tensors[f"differences.{paths.index(name.removesuffix('.weight'))}"]


def course(model: EditableModel, *, batch: int = 4) -> EditableTraining:
    path = model.arch.matrix(2, "mlp_down")
    d_out, d_in = as_matrix(model.model.get_submodule(path)).shape
    editable = Editable({path: (d_out, d_in)}, {path: 2.0}, step=0.5)
    return EditableTraining(model, editable, Weights(1.0, 1.0, 1.0), batch=batch, lr=1e-3, lr_steps=1e-2)


def test_changes_act_as_if_they_were_written_into_the_weights():
    model = steerable("gpt2")
    path = model.arch.matrix(1, "mlp_down")
    change = torch.randn(32, 48, generator=torch.Generator().manual_seed(0))
    batch = model.encode(["The capital of France is"])
    with changed(model, {path: change}):
        logits = model.forward(batch)
    assert not torch.equal(logits, model.forward(batch))
    with torch.no_grad():
        parameter_view(model.model, f"{path}.weight").add_(change)
    torch.testing.assert_close(model.forward(batch), logits, atol=1e-4, rtol=1e-4)


def test_a_step_is_gradient_descent_on_the_sum_of_the_edits():
    model = steerable("gpt2")
    taught = course(model)
    with model.preserved():
        (stepped,) = taught._stepped([FIRST, SECOND], graph=False).values()
    weight = model.model.get_submodule(model.arch.matrix(2, "mlp_down")).get_parameter("weight")
    gradient = torch.zeros_like(weight)
    for edit in (FIRST, SECOND):
        batch = model.encode([edit.prompt], [edit.target])
        assert batch.gold is not None
        gradient += torch.autograd.grad(target_loss(model.forward(batch), batch.gold).sum(), weight)[0]
    torch.testing.assert_close(stepped, -0.5 * 2.0 * gradient.T, atol=1e-6, rtol=1e-4)  # step 0.5 in units of 2


def test_the_step_itself_is_differentiated():
    """The gradient by the difference against a finite one: without second derivatives it is another."""
    model = steerable("gpt2")
    taught = course(model)
    (difference,) = taught.editable.changes().values()
    lessons = with_answers(model, learner().lessons(lessons_for("gpt2"))).training[:2]
    edits = [lesson.edit for lesson in lessons]

    def loss() -> torch.Tensor:
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            stepped = taught._stepped(edits, graph=True)
            batch = model.encode([edit.prompt for edit in edits], [edit.target for edit in edits])
            assert batch.gold is not None
            with changed(model, stepped):
                return target_loss(model.forward(batch), batch.gold).sum()

    with model.preserved(), torch.enable_grad():
        loss().backward()
        assert difference.grad is not None
        direction = difference.grad / difference.grad.norm()
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                difference.add_(sign * 1e-2 * direction)
            ends.append(float(loss().detach()))
            with torch.no_grad():
                difference.sub_(sign * 1e-2 * direction)
    assert (ends[0] - ends[1]) / 2e-2 == pytest.approx(float(difference.grad.norm()), rel=2e-2)


def test_a_unit_moves_the_output_by_its_usual_size():
    model = steerable("gpt2")
    path = model.arch.matrix(3, "mlp_down")
    (unit,) = measured_units(model, [path], [FIRST]).values()
    batch = model.encode([FIRST.prompt], [FIRST.target])
    inputs, gradients = gradient_factors(model, batch, [path])[path].tokens(0)
    usual = (inputs @ as_matrix(model.model.get_submodule(path)).T).norm(dim=1).mean()
    assert float((inputs.square().sum(1) * gradients.norm(dim=1)).max()) * unit == pytest.approx(float(usual), rel=1e-4)


def test_all_matrices_may_be_trained_and_the_chosen_ones_step(tmp_path: Path):
    editor = learner(trained="all", matrices="down 3").train(steerable("gpt2"), lessons_for("gpt2"), tmp_path)
    assert len(editor.facts["matrices"]) == 4 * 3
    assert list(editor.facts["step_sizes"]) == ["transformer.h.3.mlp.c_proj"]
    model = steerable("gpt2")
    patches = []
    for edit in (FIRST, SECOND):
        patch = create("enn", {"editor": str(tmp_path)}).fit(model, [edit]).patch
        assert isinstance(patch, WeightPatch)
        patch.attach(model)
        patches.append(patch)
    assert len(patches[0].deltas) == 4 * 3
    assert list(patches[1].deltas) == ["transformer.h.3.mlp.c_proj.weight"]


def brought(editor: Editor) -> list[tuple[tuple[str, ...], bool, frozenset[str]]]:
    """Of every patch in force its edits, whether it brings the difference, and on which edits it counts for that."""
    return [(patch.edits, bool(patch.once), patch.repeats) for patch in attached_patches(editor.editable)]


def test_the_difference_is_in_force_once_whatever_is_undone():
    model = steerable("gpt2")
    with Editor(model) as editor:
        before = marks(model)
        for edit in (FIRST, SECOND, THIRD):
            assert editor.edit(edit, "enn", **using()).failed == []
        assert brought(editor) == [
            (("e1",), True, frozenset()), (("e2",), False, frozenset({"e1"})), (("e3",), False, frozenset({"e1"}))
        ]  # fmt: skip
        undone = editor.undo("e1")
        assert any("e2: solved again" in note for note in undone.notes)
        assert brought(editor) == [(("e2",), True, frozenset()), (("e3",), False, frozenset({"e2"}))]
        said = editor.generate([SECOND.prompt, THIRD.prompt], max_new_tokens=4)
        assert said == [SECOND.target, THIRD.target]
        with Editor(steerable("gpt2")) as other:
            for edit in (SECOND, THIRD):
                other.edit(edit, "enn", **using())
            assert other.editable.fingerprint() == model.fingerprint()
        editor.redo("e1")
        assert [brings for _, brings, _ in brought(editor)] == [True, False, False]
        editor.undo("e1", "e2", "e3")
        assert marks(model) == before


def test_an_edit_that_comes_back_below_takes_the_difference_over():
    with Editor(steerable("gpt2")) as editor:
        for edit in (FIRST, SECOND, THIRD):
            editor.edit(edit, "enn", **using())
        for kind, ids, holders in (
            ("undo", "e2", [True, False]), ("undo", "e1", [True]), ("redo", "e2", [True, False]),
            ("redo", "e1", [True, False, False]), ("undo", "e2", [True, False]), ("undo", "e3", [True]),
            ("redo", "e3", [True, False]), ("undo", "e1", [True]),
        ):  # fmt: skip
            getattr(editor, kind)(ids)
            assert [brings for _, brings, _ in brought(editor)] == holders, (kind, ids)


def test_an_editor_of_another_training_brings_its_own_difference(tmp_path: Path):
    learner(seed=1).train(steerable("gpt2"), lessons_for("gpt2"), tmp_path)
    model = steerable("gpt2")
    for options in (using(), {"editor": str(tmp_path)}):
        patch = create("enn", options).fit(model, [FIRST]).patch
        assert isinstance(patch, WeightPatch)
        assert len(patch.once) == 1
        assert not patch.repeats
        patch.attach(model)


def test_more_edits_than_a_batch_are_made_on_top_of_one_another(tmp_path: Path):
    learner(batch=2).train(steerable("gpt2"), lessons_for("gpt2"), tmp_path)
    model, method = steerable("gpt2"), create("enn", {"editor": str(tmp_path)})
    together = method.fit(model, [FIRST, SECOND, THIRD]).patch
    for edits in ([FIRST, SECOND], [THIRD]):
        patch = method.fit(model, edits).patch
        assert patch is not None
        patch.attach(model)
    assert isinstance(together, WeightPatch)
    other = steerable("gpt2")
    together.attach(other)
    for name, parameter in model.model.named_parameters():
        torch.testing.assert_close(parameter, other.model.get_parameter(name), atol=1e-5, rtol=1e-4)


def test_what_is_brought_is_the_difference_and_the_step():
    model = steerable("gpt2")
    editor = TrainedEditor.load(using()["editor"])
    assert len(editor.facts["matrices"]) == 6
    assert any(whole(editor, name).any() for name in editor.facts["matrices"])
    patches = []
    for edit in (FIRST, Edit(FIRST.prompt, SECOND.target, id="other")):
        patch = create("enn", using()).fit(model, [edit]).patch
        assert isinstance(patch, WeightPatch)
        patches.append(patch)
    for name, delta in patches[0].deltas.items():
        step = torch.zeros_like(whole(editor, name))
        delta.add_to(step)
        step -= whole(editor, name)
        assert int(torch.linalg.matrix_rank(step, rtol=1e-3)) <= 16  # tokens of the prompt and its target
