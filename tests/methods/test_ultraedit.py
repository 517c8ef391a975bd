"""UltraEdit: the published update by hand, what the stream's statistics remember, and where it may edit."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from contract.steerable import options, reachable, steerable
from errata import Edit, Editor
from errata.errors import BadConfig
from errata.methods._base import create
from errata.methods._published import published
from errata.methods._sites import parse_matrices
from errata.models import EditableModel
from errata.models.hooks import capture
from errata.patches.weights import Dense, LowRank, WeightPatch
from tiny import tiny_model

EDITS = [Edit("The capital of France is", "Rome", id="a"), Edit("Who wrote the book?", "Madrid and Vienna", id="b")]
PUBLISHED: dict[str, Any] = {"unit": "absolute", "rate": 1e-3, "ridge": 1.0, "steps": 1, "prior": 0.0}


def fit(model: EditableModel, *edits: Edit, **options: Any) -> WeightPatch:
    patch = create("ultraedit", options).fit(model, edits).patch
    assert isinstance(patch, WeightPatch)
    return patch


def change(patch: WeightPatch) -> torch.Tensor:
    (delta,) = patch.deltas.values()
    total = torch.zeros(32, 48)
    delta.add_to(total)
    return total


def scored(model: EditableModel, edits: list[Edit], path: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys (n, d_in) and gradients (n, d_out) of the tokens that predict a target or its end, edit by edit."""
    keys, gradients = [], []
    for edit in edits:
        batch = model.encode([edit.prompt], [edit.target])
        assert batch.gold is not None
        with capture(model.model, [path]) as written, capture(model.model, [path], what="input") as read:
            logits = model.forward(batch)[0]
        loss = torch.nn.functional.cross_entropy(logits, batch.gold[0], ignore_index=-100, reduction="sum")
        places = batch.gold[0] != -100
        gradients.append(torch.autograd.grad(loss, written[path][0])[0][0, places])
        keys.append(read[path][0][0, places].detach())
    return torch.cat(keys), torch.cat(gradients)


def by_hand(H: torch.Tensor, G: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """Delta = V^T H (H^T H + I)^-1 with V_i = -lr |h^_i|^2 g^_i, as published, `seen` being the stream of [h; g]."""
    normal = (torch.cat([H, G], 1) - seen.mean(0)) / (seen.std(0, correction=0) + 1e-7)
    h, g = normal.double().split([H.shape[1], G.shape[1]], 1)
    V = -1e-3 * h.square().sum(1, keepdim=True) * g
    keys = H.double()
    return (V.T @ keys @ torch.linalg.inv(keys.T @ keys + torch.eye(keys.shape[1]).double())).float()


def test_one_step_is_the_published_update():
    model = tiny_model("gpt2")
    path = model.arch.matrix(2, "mlp_down")
    H, G = scored(model, EDITS, path)
    patch = fit(model, *EDITS, matrices="down 2", **PUBLISHED)
    ids = model.encode([edit.prompt for edit in EDITS], [edit.target for edit in EDITS]).target_ids
    assert len(H) == sum(map(len, ids))  # the end token among them
    torch.testing.assert_close(change(patch), by_hand(H, G, torch.cat([H, G], 1)), rtol=1e-3, atol=1e-6)
    assert float(change(patch).abs().max()) > 1e-3


def test_batches_of_one_make_the_same_update():
    model = tiny_model("gpt2")
    whole, single = (fit(model, *EDITS, matrices="down 2", rows=rows, **PUBLISHED) for rows in (64, 1))
    torch.testing.assert_close(change(whole), change(single), rtol=1e-3, atol=1e-6)


def test_statistics_are_those_of_the_patches_in_force():
    model = tiny_model("gpt2")
    path = model.arch.matrix(2, "mlp_down")
    first, second = EDITS
    parts = [torch.cat(scored(model, [first], path), 1)]
    patch = fit(model, first, matrices="down 2", **PUBLISHED)
    patch.attach(model)
    H, G = scored(model, [second], path)
    stream = torch.cat([*parts, torch.cat([H, G], 1)])
    later = fit(model, second, matrices="down 2", **PUBLISHED)
    torch.testing.assert_close(change(later), by_hand(H, G, stream), rtol=1e-3, atol=1e-6)
    patch.detach(model)
    alone = fit(model, second, matrices="down 2", **PUBLISHED)
    H, G = scored(model, [second], path)
    torch.testing.assert_close(change(alone), by_hand(H, G, torch.cat([H, G], 1)), rtol=1e-3, atol=1e-6)


def test_undo_takes_an_edits_statistics_along():
    first, second, third = reachable("gpt2")
    kept = []
    for undone in (True, False):
        with Editor(steerable("gpt2")) as editor:
            if undone:
                editor.undo(editor.edit(first, "ultraedit", **options("ultraedit")).ids[0])
            assert editor.edit([second, third], "ultraedit", batch_size=1, **options("ultraedit")).failed == []
            kept.append([patch.tensors() for patch in editor.patches])
    for one, other in zip(*kept, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_many_tokens_are_kept_as_a_matrix_and_few_as_factors():
    model = tiny_model("gpt2")
    edits = [Edit(f"The capital of France is {word}", "Madrid and Vienna", id=word) for word in ("a", "b", "c", "d")]
    few, many = fit(model, edits[0], matrices="down 2"), fit(model, *edits, matrices="down 2")
    assert isinstance(next(iter(few.deltas.values())), LowRank)
    assert isinstance(next(iter(many.deltas.values())), Dense)


def test_steps_end_when_every_edit_is_there():
    model, edits = steerable("gpt2"), reachable("gpt2")
    figures = create("ultraedit", {**options("ultraedit"), "steps": 500}).fit(model, edits).figures
    (steps,) = {one["steps"] for one in figures.values()}
    assert 1 < steps < 500
    assert all(one["loss"] < options("ultraedit")["enough"] for one in figures.values())


def test_a_loss_that_is_not_a_number_is_a_problem():
    fit = create("ultraedit", {"rate": 1e25}).fit(steerable("gpt2"), reachable("gpt2"))
    assert all("NaN" in one["problem"] for one in fit.figures.values())


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("down 2", [(2, "mlp_down")]),
        ("gate 0-1, up 3", [(0, "mlp_gate"), (1, "mlp_gate"), (3, "mlp_up")]),
        ("up 0, 2,down -1", [(0, "mlp_up"), (2, "mlp_up"), (3, "mlp_down")]),
        ("up 1.0, up 3", [(3, "mlp_up")]),
    ],
)
def test_matrices_are_roles_with_blocks(text: str, named: list[tuple[int, str]]):
    model = tiny_model("llama")
    assert list(parse_matrices(model, text)) == [model.arch.matrix(*one) for one in named]


@pytest.mark.parametrize("text", ["5", "mlp_up 3", "down", "", "up gate 3"])
def test_other_forms_are_refused(text: str):
    with pytest.raises(BadConfig, match="not of the form"):
        parse_matrices(tiny_model("llama"), text)


def test_an_encoder_that_a_decoder_reads_holds_no_answer():
    with pytest.raises(BadConfig, match="choose blocks 3 to 5"):
        fit(tiny_model("t5"), *EDITS, matrices="down 2")
    assert fit(tiny_model("t5"), *EDITS, matrices="down 3", steps=1).deltas


def test_published_settings_are_taken_for_well_known_models():
    config = SimpleNamespace(model_type="mistral", vocab_size=32000)
    config.get_text_config = lambda: config
    model: Any = SimpleNamespace(model=SimpleNamespace(config=config), width=4096, arch=range(32))
    found = published("ultraedit", model)
    assert (found["matrices"], found["rate"], found["ridge"], found["steps"]) == ("down 29-30", 1e-6, 1.0, 1)
