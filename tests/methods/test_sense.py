"""Sense finetuning on tiny Backpacks: examples get there, only senses of their words move, and a ball holds."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from errata import Editor
from errata.edits import Edit
from errata.errors import BadConfig, BadModel
from errata.methods._base import Fit, create
from errata.models import EditableModel
from errata.models.backpack.words import backpack_of
from errata.patches.senses import SensePatch
from errata.solve.ball import TEXTS
from errata.solve.general import Prose, stretches
from errata.solve.goals import Aims
from tiny import tiny_model

EXAMPLES = (
    Edit("Danielle Darrieux is", "Rome", id="a", goal="raise"),
    Edit("Madrid and Vienna are", "London", id="b", goal="lower"),
    Edit("Who wrote the book?", "Paris", id="c", goal="balance", rival="Rome"),
    Edit("The cities of Germany", "are", id="d", goal="contrast", rival="is"),
)
OPTIONS: dict[str, Any] = {"tokens": 2000, "lr": 0.3, "steps": 40, "background": 10.0}
ELSEWHERE = "xyz 123 -- xyz"  # none of the examples' tokens


@pytest.fixture
def model() -> EditableModel:
    return tiny_model("backpack")


def fit(model: EditableModel, edits: tuple[Edit, ...] = EXAMPLES, **more: Any) -> Fit:
    return create("sense", OPTIONS | more).fit(model, edits)


def patch_of(found: Fit) -> SensePatch:
    assert isinstance(found.patch, SensePatch)
    return found.patch


@torch.no_grad()
def losses(model: EditableModel, edits: tuple[Edit, ...] = EXAMPLES) -> Tensor:
    return Aims.of(model, edits).losses(model)


@torch.no_grad()
def logits(model: EditableModel, text: str) -> Tensor:
    return model.forward(model.encode([text])).clone()


def test_every_goal_gets_closer(model: EditableModel) -> None:
    before, elsewhere = losses(model), logits(model, ELSEWHERE)
    found = fit(model)
    assert not any("problem" in figures for figures in found.figures.values())
    patch = patch_of(found)
    patch.attach(model)
    after = losses(model)
    assert (after < before - 0.1).all()
    told = torch.tensor([found.figures[id]["loss"] for id in "abcd"])
    torch.testing.assert_close(after, told, atol=1e-3, rtol=1e-3)
    assert not set(model.encode([ELSEWHERE]).input_ids[0].tolist()) & set(patch.pairs[:, 0].tolist())
    assert torch.equal(logits(model, ELSEWHERE), elsewhere)


@pytest.mark.parametrize("count", [1, 4])
def test_only_so_many_senses_of_words_that_are_read(model: EditableModel, count: int) -> None:
    found = fit(model, EXAMPLES[:2], senses=count)
    patch = patch_of(found)
    assert {found.figures[id]["senses"] for id in "ab"} == {count}
    assert count <= len(patch.pairs) <= 2 * count
    read = Aims.of(model, EXAMPLES[:2]).batch.input_ids.unique().tolist()
    assert set(patch.pairs[:, 0].tolist()) <= set(read)


def test_an_answer_ends(model: EditableModel) -> None:
    edit = Edit("Danielle Darrieux is", "Rome", id="a")
    with Editor(model) as editor:
        receipt = editor.edit(edit, "sense", **OPTIONS | {"steps": 200, "background": 0.0})
        assert receipt.failed == []
        assert editor.generate(edit.prompt) == "Rome"
        editor.undo("a")
        assert not model.model.transformer.senses._forward_hooks


def test_later_edits_stand_on_earlier_ones(model: EditableModel) -> None:
    before = losses(model)
    with Editor(model) as editor:
        for edit in EXAMPLES[::2]:
            assert editor.edit(edit, "sense", **OPTIONS).failed == []
        assert (losses(model)[::2] < before[::2] - 0.1).all()
        editor.undo("a")
        assert losses(model)[2] < before[2] - 0.1
        editor.undo("c")
    assert torch.equal(losses(model), before)


def test_the_network_runs_before_training_alone(model: EditableModel) -> None:
    calls: list[int] = []
    handle = model.model.transformer.trunk.register_forward_hook(lambda *_: calls.append(1))
    fit(model, steps=1)  # from now on the background is in the cache
    calls.clear()
    fit(model, steps=30)
    handle.remove()
    assert len(calls) == 2  # targets, rivals


@pytest.mark.parametrize("epsilon", [1e-2, 1e-4])
def test_a_ball_holds(model: EditableModel, epsilon: float) -> None:
    text = stretches(model, None, TEXTS)
    start = Prose(model, text).start
    found = fit(model, ball=epsilon, background=100.0, lr=0.03)
    patch_of(found).attach(model)
    assert Prose(model, text).start < (1 + epsilon) * start * (1 + 1e-6)
    assert found.figures["a"]["general_loss_before"] == pytest.approx(start, rel=1e-5)
    assert found.figures["a"]["general_loss"] == pytest.approx(Prose(model, text).start, rel=1e-5)


@torch.no_grad()
def divergence(patch: SensePatch) -> float:
    """KL(p_0 || p) on general text, nats a token."""
    model = tiny_model("backpack")
    text = stretches(model, None, 4)
    before = model.forward(text).log_softmax(-1)
    patch.attach(model)
    after = model.forward(text).log_softmax(-1)
    return float((before.exp() * (before - after)).sum(-1).mean())


def test_a_tether_holds_back(model: EditableModel) -> None:
    free, held = (patch_of(fit(model, kl=weight, background=0.0, lr=0.05)) for weight in (0.0, 100.0))
    assert 0 < divergence(held) < 0.5 * divergence(free)


def test_the_same_call_gives_the_same_patch(model: EditableModel) -> None:
    one, other = (patch_of(fit(tiny_model("backpack"), kl=0.1, ball=0.1)) for _ in range(2))
    assert one.header() == other.header()
    assert torch.equal(one.pairs, other.pairs)
    assert torch.equal(one.vectors, other.vectors)


def test_edits_that_share_no_word_can_be_undone_alone(model: EditableModel) -> None:
    apart = (Edit("Rome", "Italy", id="a", goal="raise"), Edit("xyz", "Paris", id="b", goal="raise"))
    patch = patch_of(fit(model, apart))
    rest = patch.without(["a"])
    assert isinstance(rest, SensePatch)
    alone = patch_of(fit(model, apart[1:]))
    assert torch.equal(rest.pairs, alone.pairs)


def test_where_nothing_is_eligible() -> None:
    model = tiny_model("backpack", bos=True)
    words = ("is", "of", "the", "capital", "and")
    word = next(word for word in words if len(model.tokenizer(f" {word}", add_special_tokens=False)["input_ids"]) == 1)
    bare = Edit("<s>", word, id="a", goal="raise")
    assert set(model.encode([bare.prompt]).input_ids[0].tolist()) == {model.tokenizer.bos_token_id}
    both = fit(model, (bare, EXAMPLES[2]))
    assert "no sense" in both.figures["a"]["problem"]
    assert "problem" not in both.figures["c"]
    alone = fit(model, (bare,))
    assert alone.patch is None
    assert "no sense" in alone.figures["a"]["problem"]


def test_what_it_refuses(model: EditableModel) -> None:
    for other in ("gpt2", "bert"):
        with pytest.raises(BadModel, match=r"'sense' edits .* Backpack.*; use"):
            create("sense").fit(tiny_model(other), EXAMPLES[:1])
    with pytest.raises(BadConfig, match="senses"):
        fit(model, senses=0)


def test_a_loss_that_explodes_leaves_no_patch(model: EditableModel) -> None:
    with torch.no_grad():
        backpack_of(model).lm_head.weight[9] = torch.inf
    found = create("sense", OPTIONS | {"background": 0.0}).fit(model, EXAMPLES[:1])
    assert found.patch is None
    assert "problem" in found.figures["a"]
