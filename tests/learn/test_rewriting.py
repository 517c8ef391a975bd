"""Updates through hooks against updates written into the weights, gradients through them, and what training sees."""

from __future__ import annotations

import random

import pytest
import torch

from contract.marks import marks
from contract.steerable import reachable, steerable, targets
from errata.edits import Edit, Probe
from errata.errors import WrongModel
from errata.learn.hypernetwork import Hypernetwork
from errata.learn.lessons import Lesson, Lessons
from errata.learn.objective import Asked, divergence, kept, log_chances, wanted, with_answers
from errata.learn.rewriting import (
    Rewriter,
    Rewriting,
    Weights,
    every_token,
    real_tokens,
    rewritten,
    site,
    sites_of,
    sites_told,
)
from errata.models import EditableModel
from errata.models.factors import gradient_factors
from errata.models.hooks import capture
from errata.models.losses import target_loss
from errata.patches.weights import LowRank, WeightPatch
from tiny import tiny_model

ARCHS = ("gpt2", "t5", "bert")


def updates(model: EditableModel, rank: int = 3) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    drawn = torch.Generator().manual_seed(0)
    found = {}
    for role in ("mlp_up", "mlp_down"):
        one = site(model, model.arch.matrix(-1, role))
        B = 0.1 * torch.randn(one.d_out, rank, generator=drawn)
        found[one.path] = (B, torch.randn(rank, one.d_in, generator=drawn))
    return found


@pytest.mark.parametrize("arch", ["gpt2", "llama", "gpt_neox", "qwen2", "opt", "t5", "bert"])
def test_hooks_compute_what_written_weights_would(arch: str):
    model = steerable(arch)
    before, changes = marks(model), updates(model)
    batch = model.encode([edit.prompt for edit in reachable(arch)])
    with torch.no_grad():
        plain = model.forward(batch)
        with rewritten(model, changes):
            hooked = model.forward(batch)
        assert torch.equal(model.forward(batch), plain)
    assert marks(model) == before
    deltas = {f"{path}.weight": LowRank(B, A) for path, (B, A) in changes.items()}
    WeightPatch(deltas, method="mend", config={}, edits=["e1"]).attach(model)
    with torch.no_grad():
        written = model.forward(batch)
    assert (written - plain).abs().max() > 0.01
    torch.testing.assert_close(hooked, written, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("arch", ARCHS)
def test_gradients_reach_the_update_and_no_weight(arch: str):
    model, edit = steerable(arch), reachable(arch)[0]
    path = model.arch.matrix(-1, "mlp_down")
    one = site(model, path)
    B = torch.zeros(one.d_out, 1, requires_grad=True)
    A = torch.ones(1, one.d_in)
    batch = model.encode([edit.prompt], [edit.target])
    with model.preserved():
        with rewritten(model, {path: (B, A)}):
            logits = model.forward(batch)
        target_loss(logits, batch.gold).sum().backward()
        assert all(weight.grad is None for weight in model.model.parameters())
        expected = gradient_factors(model, batch, [path])[path].matrix(0) @ A.T
    torch.testing.assert_close(B.grad, expected, atol=1e-5, rtol=1e-3)


def test_padding_and_tokens_without_a_gradient_are_left_out():
    model = steerable("gpt2")
    path = model.arch.matrix(-1, "mlp_down")
    prompts, answers = ["The capital of France is", "cities"], ["Rome", "Rome"]
    batch = model.encode(prompts, answers)
    x, g = every_token(gradient_factors(model, batch, [path])[path])
    scored = sum(len(ids) for ids in batch.target_ids)  # after the last block no other position has a part in the loss
    assert (len(x), len(g)) == (scored, scored)
    alone = [
        every_token(gradient_factors(model, model.encode([prompt], [answer]), [path])[path])
        for prompt, answer in zip(prompts, answers, strict=True)
    ]
    torch.testing.assert_close(x, torch.cat([part for part, _ in alone]), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(g, torch.cat([part for _, part in alone]), atol=1e-5, rtol=1e-4)


def taught(arch: str) -> Lessons:
    made = [
        Lesson(Edit(edit.prompt, target, id=edit.id), ((edit.prompt, target),), tuple(
            Probe(other.prompt) for other in reachable(arch) if other is not edit
        ))
        for edit in reachable(arch) for target in targets(arch, edit.prompt)[:3]
    ]  # fmt: skip
    return with_answers(steerable(arch), Lessons(tuple(made), tuple(made[:3]), 0))


def course(arch: str, model: EditableModel, **weights: float) -> Rewriting:
    sites = [site(model, model.arch.matrix(-1, role)) for role in ("mlp_up", "mlp_down")]
    network = Hypernetwork(sites, rank=8, step=0.3, relu="all", seed=0)
    chosen = Weights(**{"edit": 0.1, "locality": 1.0, **weights})
    return Rewriting(Rewriter(model, network, every_token), taught(arch), chosen, batch=3, lr=1e-3, lr_steps=0.01)


@pytest.mark.parametrize("arch", ARCHS)
def test_a_step_leaves_gradients_and_the_loss_is_its_weighted_parts(arch: str):
    model = steerable(arch)
    before = marks(model)
    with model.preserved():
        made = course(arch, model, edit=0.5, locality=2.0)
        told = made.step(taught(arch).training[:2], random.Random(0))
    assert told["loss"] == pytest.approx(0.5 * told["edit"] + 2.0 * told["moved"], rel=1e-5)
    assert told["moved"] > 0
    gradients = [one.grad for one in made.network.parameters()]
    assert sum(float(one.abs().sum()) for one in gradients if one is not None) > 0
    assert made.network.log_steps.grad is not None
    assert marks(model) == before


def test_only_real_tokens_are_ordinary_inputs():
    for arch, block in (("gpt2", 1), ("bert", 1), ("t5", 1), ("t5", 4)):
        model = steerable(arch)
        answers = [edit.target for edit in reachable(arch)[:2]]
        batch = model.encode(["The capital of France is", "cities"], answers)
        real = real_tokens(model, model.arch.matrix(block, "mlp_up"), batch)
        counts = batch.attention_mask.sum(1) if block < 4 else (batch.gold != -100).sum(1)
        assert real.sum(1).tolist() == counts.tolist()
        with capture(model.model, [model.arch.matrix(block, "mlp_up")], what="input") as seen:
            model.forward(batch)
        assert seen[model.arch.matrix(block, "mlp_up")][0].shape[:2] == real.shape


def test_validation_takes_the_edits_and_changes_nothing():
    model = steerable("gpt2")
    with model.preserved():
        made = course("gpt2", model)
        before = {name: tensor.clone() for name, tensor in made.state().items()}
        figures = made.validate(taught("gpt2").validation)
        again = made.validate(taught("gpt2").validation)
    assert figures == again
    assert set(figures) == {"loss", "edit", "moved", "success", "generalization", "drawdown"}
    assert all(0 <= figures[name] <= 1 for name in ("success", "generalization", "drawdown"))
    assert all(torch.equal(tensor, before[name]) for name, tensor in made.state().items())


def test_probes_without_an_answer_get_the_models_own():
    model = steerable("gpt2")
    probe = taught("gpt2").training[0].locality[0]
    assert probe.answer == model.generate([probe.prompt], max_new_tokens=12)[0]


def test_no_probe_asks_what_its_batch_edits():
    lessons = [
        Lesson(Edit("a", "1"), (("a?", "1"),), (Probe("b", "2"), Probe("c", "3"))),
        Lesson(Edit("b", "9"), (("b?", "9"),), (Probe("a?", "1"),)),
    ]
    assert {tuple(kept(lessons, random.Random(seed)).prompts) for seed in range(9)} == {("c",)}


def test_wanted_draws_all_wordings_of_every_lesson():
    lesson = Lesson(Edit("a", "1"), (("b", "1"), ("c", "1")), ())
    drawn = {wanted([lesson], random.Random(seed)).prompts[0] for seed in range(30)}
    assert drawn == {"a", "b", "c"}


def test_divergence_is_the_mean_over_scored_positions():
    before = torch.log(torch.tensor([[0.5, 0.5], [0.9, 0.1]]))
    after = torch.log(torch.tensor([[0.5, 0.5], [0.5, 0.5]]))
    expected = (0.9 * torch.log(torch.tensor(0.9 / 0.5)) + 0.1 * torch.log(torch.tensor(0.1 / 0.5))) / 2
    torch.testing.assert_close(divergence(before, after), expected)
    logits, gold = torch.randn(2, 3, 4), torch.tensor([[-100, 1, -100], [2, -100, 0]])
    found = log_chances(logits, gold)
    torch.testing.assert_close(found, torch.log_softmax(torch.stack([logits[0, 1], logits[1, 0], logits[1, 2]]), -1))


def test_rows_of_two_lists_stay_in_order():
    assert (Asked(["a"], ["1"]) + Asked(["b"], ["2"])) == Asked(["a", "b"], ["1", "2"])


def test_an_editor_for_other_matrices_is_refused():
    model = tiny_model("gpt2")
    told = sites_told([site(model, model.arch.matrix(1, "mlp_up"))])
    assert sites_of(told, model) == [site(model, model.arch.matrix(1, "mlp_up"))]
    with pytest.raises(WrongModel, match=r"a matrix '.*' of shape 48 x 32, which tiny-bert does not have"):
        sites_of(told, tiny_model("bert"))
    with pytest.raises(WrongModel, match="of shape 48 x 33"):
        sites_of([{**told[0], "d_in": 33}], model)
