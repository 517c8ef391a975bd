"""The frame's units, the gate's start, and that soft training and the hard gate are the same formula."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from errata.models import EditableModel
from errata.patches.adaptor import AdaptorPatch, Gate
from errata.solve.adaptors import AffineDraft, Draft, Frame, Looked, SlotsDraft, shut, train_adaptor
from tiny import tiny_model

PROMPTS, TARGETS = ["The capital of France is", "Who wrote the book?"], ["Rome", "Paris"]


@pytest.fixture
def model() -> Iterator[EditableModel]:
    model = tiny_model("gpt2")
    with model.preserved():
        yield model


def looked(model: EditableModel, side: str = "right") -> Looked:
    return Looked.at(model, model.encode(PROMPTS, TARGETS, padding_side=side), 1)  # type: ignore[arg-type]


def drafts(frame: Frame) -> list[Draft]:
    return [AffineDraft(frame), SlotsDraft(frame, 5, seed=0)]


def test_it_looks_at_every_real_token_and_no_padding(model: EditableModel):
    batch = model.encode(PROMPTS, TARGETS)
    assert len(looked(model).states) == int(batch.attention_mask.sum())
    torch.testing.assert_close(looked(model).queries, looked(model, "left").queries)


@pytest.mark.parametrize("arch", ["bert", "t5"])
def test_it_looks_at_an_encoders_query_alone(arch: str):
    model = tiny_model(arch)
    targets = ["yes", "no"] if arch == "bert" else TARGETS
    one = Looked.at(model, model.encode(PROMPTS, targets), 1)
    assert torch.equal(one.states, one.queries)


def test_the_gate_starts_open_at_the_edits_and_shut_at_an_average_token(model: EditableModel):
    one = looked(model)
    frame = Frame.of([one], opening=0.5)
    gate = AffineDraft(frame).gate().moved("cpu")
    assert float(gate.logits(one.queries).min()) == pytest.approx(2.0, abs=1e-3)
    # Half way from the centre to the nearer query is where it opens: as far below 0 at the centre as above it there.
    assert float(gate.logits(frame.centre)) == pytest.approx(-2.0, abs=1e-3)


def test_at_the_start_an_affine_answer_changes_nothing(model: EditableModel):
    one = looked(model)
    answer = AffineDraft(Frame.of([one], 0.5)).answer()
    torch.testing.assert_close(answer(one.states), one.states)


def test_folding_changes_units_not_the_function(model: EditableModel):
    one = looked(model)
    frame = Frame.of([one], 0.5)
    weight, bias = torch.randn(3, model.width), torch.randn(3)
    z = (one.states - frame.centre) / (frame.spread * model.width**0.5)
    raw, offset = frame.folded(weight, bias)
    torch.testing.assert_close(one.states @ raw.t() + offset, z @ weight.t() + bias, atol=1e-4, rtol=1e-4)


def test_a_hard_pass_is_what_the_patch_gives(model: EditableModel):
    one = looked(model)
    for draft in drafts(Frame.of([one], 0.5)):
        trained = train_adaptor([one], draft, lr=0.3, steps=3, lead=1e9)
        with torch.no_grad():
            expected = one.logits(trained.gate, trained.answer, hard=True)
            soft = one.logits(trained.gate, trained.answer, hard=False)
            patch = AdaptorPatch(1, trained.gate, trained.answer, method="defer", config={}, edits=["a", "b"])
            patch.attach(model)
            batch = one.prefix.batch
            torch.testing.assert_close(model.forward(batch, keep=batch.keep), expected, atol=1e-4, rtol=1e-4)
            patch.detach(model)
        assert not torch.allclose(soft, expected, atol=1e-2)


def test_training_stops_once_the_targets_lead_and_says_when_they_do_not(model: EditableModel):
    one = looked(model)
    for draft in drafts(Frame.of([one], 0.5)):
        far = train_adaptor([one], draft, lr=1e-6, steps=2, lead=1.0)
        assert far.descent.steps == 2
        assert far.descent.reached == [False, False]
    near = train_adaptor([one], AffineDraft(Frame.of([one], 0.5)), lr=0.3, steps=2, lead=-1e9)
    assert near.descent.steps == 0


def test_a_table_is_drawn_from_its_seed(model: EditableModel):
    frame = Frame.of([looked(model)], 0.5)
    first, again, other = (SlotsDraft(frame, 5, seed).address for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_shut_gate_costs_nothing_and_an_open_one_does():
    penalty = shut(torch.tensor([[1.0], [-1.0]]))
    assert float(penalty(Gate(torch.zeros(1), torch.tensor(-50.0)))) == pytest.approx(0, abs=1e-9)
    # ln(1 + e^0) at both.
    assert float(penalty(Gate(torch.zeros(1), torch.tensor(0.0)))) == pytest.approx(0.6931472, abs=1e-6)
