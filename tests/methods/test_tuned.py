"""Fine-tuning that remembers: what earlier edits hold in place or are trained again, and that undo forgets them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from contract.steerable import gentle, maker, options, reachable, steerable, targets
from errata import Edit, Editor
from errata.methods._base import Method
from errata.methods._tuned import TunedMatrix
from errata.models import EditableModel
from errata.models.losses import target_loss
from errata.patches.files import load_patch, save_patch
from errata.patches.weights import WeightPatch

FIRST, SECOND, THIRD = reachable("gpt2")


def fit(method: Method, model: EditableModel, *edits: Edit) -> WeightPatch:
    patch = method.fit(model, edits).patch
    assert isinstance(patch, WeightPatch)
    return patch


def change(patch: WeightPatch) -> torch.Tensor:
    """(d_out, d_in): what the patch adds to its one matrix."""
    (delta,) = patch.deltas.values()
    total = torch.zeros(32, 48)
    delta.add_to(total)
    return total


def same(one: WeightPatch, other: WeightPatch) -> bool:
    mine, others = one.tensors(), other.tensors()
    return mine.keys() == others.keys() and all(torch.equal(mine[name], others[name]) for name in mine)


def in_force(editor: Editor) -> list[WeightPatch]:
    return [patch for patch in editor._stack.patches.values() if isinstance(patch, WeightPatch)]


@pytest.mark.parametrize("name", ["ft-ewc", "ft-retrain"])
def test_with_nothing_to_remember_it_is_plain_fine_tuning(name: str):
    model = steerable("gpt2")
    assert same(fit(maker(name), model, FIRST), fit(maker("ft"), model, FIRST))


def test_ewc_moves_less_where_earlier_edits_are_sensitive():
    model = steerable("gpt2")
    fit(maker("ft-ewc"), model, FIRST).attach(model)
    free, held = (fit(maker("ft-ewc", weight=weight), model, SECOND) for weight in (0.0, 1e6))
    assert same(free, fit(maker("ft"), model, SECOND))
    assert not same(free, held)
    batch = model.encode([FIRST.prompt], [FIRST.target])
    lost = []
    for patch in (free, held):
        before = model.forward(batch).detach()
        patch.attach(model)
        lost.append(float((model.forward(batch).detach() - before).norm()))
        patch.detach(model)
    assert lost[1] < lost[0] / 2


def test_only_edits_in_force_are_remembered_and_of_a_prompt_the_last():
    model, method, other = steerable("gpt2"), maker("ft-ewc"), maker("ft-retrain")
    assert isinstance(method, TunedMatrix)
    assert isinstance(other, TunedMatrix)
    patches = [fit(method, model, FIRST)]
    patches[0].attach(model)
    later = Edit(FIRST.prompt, targets("gpt2", FIRST.prompt)[1], id="e4")
    for edit in (SECOND, later):
        patches.append(fit(method, model, edit))
        patches[-1].attach(model)
    assert [edit.id for edit in method.past(model, [THIRD])] == ["e2", "e4"]
    assert [edit.id for edit in method.past(model, [SECOND])] == ["e4"]
    patches[-1].detach(model)
    assert [edit.id for edit in method.past(model, [THIRD])] == ["e1", "e2"]
    assert other.past(model, [THIRD]) == []  # each method its own


def test_what_was_asked_is_kept_in_the_file(tmp_path: Path):
    model, method = steerable("gpt2"), maker("ft-retrain", every=1)
    fit(method, model, FIRST).attach(model)
    patch = fit(method, model, SECOND)
    save_patch(tmp_path / "p.safetensors", patch, {"name": "m", "fingerprint": "f"})
    loaded = load_patch(tmp_path / "p.safetensors")
    assert isinstance(loaded, WeightPatch)
    assert loaded.requests == (Edit(SECOND.prompt, SECOND.target, id="e2"),)
    assert loaded.repeats == patch.repeats == {"e1"}


def test_replay_comes_when_the_count_is_full():
    model, method = steerable("gpt2"), maker("ft-retrain", every=2)
    repeats = []
    for edit in (FIRST, SECOND, THIRD):
        patch = fit(method, model, edit)
        patch.attach(model)
        repeats.append(set(patch.repeats))
    assert repeats == [set(), {"e1"}, set()]


def test_replay_improves_what_it_repeats():
    model = steerable("gpt2")
    fit(maker("ft-retrain"), model, FIRST).attach(model)
    batch = model.encode([FIRST.prompt], [FIRST.target])
    assert batch.gold is not None
    losses = []
    for every in (50, 1):
        patch = fit(maker("ft-retrain", every=every, passes=20), model, SECOND)
        patch.attach(model)
        losses.append(float(target_loss(model.forward(batch).detach(), batch.gold)))
        patch.detach(model)
    assert losses[1] < losses[0] / 2


def test_an_undone_edit_does_not_live_on_in_a_replay():
    model = steerable("gpt2")
    with Editor(model) as editor:
        for edit in (FIRST, SECOND, THIRD):
            assert editor.edit(edit, "ft-retrain", **{**gentle("ft-retrain"), "every": 1}).failed == []
        whole = in_force(editor)
        assert [set(patch.repeats) for patch in whole] == [set(), {"e1"}, {"e1", "e2"}]
        undone = editor.undo("e2")
        assert any("e3: solved again, since undone edits were trained into it" in note for note in undone.notes)
        rest = in_force(editor)
        assert [set(patch.repeats) for patch in rest] == [set(), {"e1"}]
        assert editor.generate([FIRST.prompt, THIRD.prompt], max_new_tokens=4) == [FIRST.target, THIRD.target]
        with Editor(steerable("gpt2")) as other:
            for edit in (FIRST, THIRD):
                other.edit(edit, "ft-retrain", **{**gentle("ft-retrain"), "every": 1})
            assert all(same(mine, theirs) for mine, theirs in zip(rest, in_force(other), strict=True))
        editor.redo("e2")
        assert all(same(now, then) for now, then in zip(in_force(editor), whole, strict=True))


def test_the_bound_of_ft_l_holds_for_every_weight():
    model = steerable("gpt2")
    path = model.arch.matrix(model.layer_of(0.6), "mlp_down")
    unit = float(model.model.get_submodule(path).get_parameter("weight").detach().square().mean().sqrt())
    patch = fit(maker("ft-l", **{**options("ft-l"), "epsilon": 0.05, "enough": 0.0}), model, FIRST)
    assert float(change(patch).abs().max()) == pytest.approx(0.05 * unit, rel=1e-4)


def test_full_fine_tuning_moves_biases_of_zero_and_embeddings_too():
    model = steerable("gpt2")
    bias = "transformer.h.0.mlp.c_fc.bias"
    with torch.no_grad():
        model.model.get_parameter(bias).zero_()
    patch = fit(maker("ft-full", lr=0.01), model, FIRST)
    assert {bias, "transformer.wte.weight", "transformer.ln_f.weight"} <= set(patch.deltas)
    assert "transformer.h.0.mlp.c_proj.weight" in patch.deltas
