"""Adaptors on running models: where the gate opens the answer stands, elsewhere not a bit changes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from errata.errors import BadPatch, WrongModel
from errata.models import EditableModel
from errata.models.hooks import capture
from errata.patches.adaptor import AdaptorPatch, Affine, Answer, Gate, Slots
from errata.patches.base import Inseparable
from errata.patches.codebook import CodebookPatch, Entry
from errata.patches.files import load_patch, save_patch
from tiny import tiny_model

PROMPT, OTHER = "The capital of France is", "Madrid and Vienna are cities in"


def adaptor(gate: Gate, answer: Answer, layer: int = 1, edits: tuple[str, ...] = ("a",)) -> AdaptorPatch:
    return AdaptorPatch(layer, gate, answer, method="defer", config={}, edits=edits)


def states(model: EditableModel, prompts: list[str], layer: int = 1, side: str = "right") -> Tensor:
    """Output of a block, (B, T, d)."""
    batch = model.encode(prompts, padding_side=side)  # type: ignore[arg-type]
    path = model.arch.blocks[layer]
    with torch.no_grad(), capture(model.model, [path]) as seen:
        model.forward(batch)
    return seen[path][0]


def only_the_last(model: EditableModel, prompt: str = PROMPT) -> Gate:
    """A gate that opens at the last token of a prompt and at none before it."""
    row = states(model, [prompt])[0]
    weight = torch.linalg.lstsq(row, torch.tensor([-1.0] * (len(row) - 1) + [1.0])[:, None]).solution[:, 0]
    return Gate(weight, torch.tensor(0.0))


def constant(width: int, value: float) -> Affine:
    return Affine(torch.zeros(width, width), torch.full((width,), value))


def test_an_affine_answer_by_hand():
    answer = Affine(torch.tensor([[1.0, 2.0], [0.0, -1.0]]), torch.tensor([0.5, 0.0]))
    assert answer(torch.tensor([[3.0, 1.0]])).tolist() == [[5.5, -1.0]]


def test_a_table_is_read_by_softmax():
    ln3 = torch.log(torch.tensor(3.0))
    slots = Slots(torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.zeros(2), torch.tensor([[4.0, 0.0], [0.0, 8.0]]))
    # Weights 3/4 and 1/4.
    torch.testing.assert_close(slots(torch.tensor([[float(ln3), 9.0]])), torch.tensor([[3.0, 2.0]]))


def test_a_gate_opens_above_a_half():
    gate = Gate(torch.tensor([1.0, -1.0]), torch.tensor(-1.0))
    assert gate.logits(torch.tensor([[3.0, 1.0], [1.0, 1.0]])).tolist() == [1.0, -1.0]
    patch = adaptor(gate, constant(2, 0.0))
    found = patch.hits(torch.tensor([[3.0, 1.0], [1.0, 1.0], [2.0, 1.0]]))
    assert found is not None
    assert found.states.tolist() == [0]  # exactly a half is shut
    assert patch.hits(torch.tensor([[1.0, 1.0]])) is None


@pytest.mark.parametrize("side", ["right", "left"])
def test_open_positions_get_the_answer_and_the_others_keep_their_bits(side: str):
    model = tiny_model("gpt2")
    patch = adaptor(only_the_last(model), constant(model.width, 2.0))
    before = states(model, [PROMPT, OTHER], side=side)
    batch = model.encode([PROMPT, OTHER], padding_side=side)  # type: ignore[arg-type]
    gate = torch.stack([patch.gate.logits(row) for row in before]) > 0
    opened = gate & (batch.attention_mask == 1)
    patch.attach(model)
    after = states(model, [PROMPT, OTHER], side=side)
    patch.detach(model)
    assert opened[0, batch.query[0]]
    assert (after[opened] == 2).all()
    assert torch.equal(after[~opened], before[~opened])


def test_an_encoder_is_gated_at_its_query_alone():
    for arch in ("bert", "t5"):
        model = tiny_model(arch)
        always = Gate(torch.zeros(model.width), torch.tensor(1.0))
        patch = adaptor(always, constant(model.width, 2.0))
        before = states(model, [PROMPT, OTHER])
        patch.attach(model)
        after = states(model, [PROMPT, OTHER])
        changed = (before != after).any(-1)
        assert changed.sum(1).tolist() == [1, 1]
        assert changed[torch.arange(2), model.encode([PROMPT, OTHER]).query].all()


def test_patches_at_one_block_act_in_order_whatever_their_kind():
    model = tiny_model("gpt2")
    shifted = Affine(torch.eye(model.width), torch.ones(model.width))
    always = Gate(torch.zeros(model.width), torch.tensor(1.0))
    query = states(model, [PROMPT])[0, -1]
    first = adaptor(always, shifted)
    book = CodebookPatch(
        1, [Entry("b", query + 1, query * 0, (1,), 0.01)], method="grace", config={}, edits=["b"]
    )  # it knows the state as the adaptor below it leaves it
    second = adaptor(always, shifted, edits=("c",))
    for patch in (first, book, second):
        patch.attach(model)
    torch.testing.assert_close(states(model, [PROMPT])[0, -1], torch.ones(model.width))
    first.detach(model)
    torch.testing.assert_close(states(model, [PROMPT])[0, -1], query + 1)


def test_what_opened_is_recorded():
    model = tiny_model("gpt2")
    patch = adaptor(only_the_last(model), constant(model.width, 2.0), edits=("a", "b"))
    patch.attach(model)
    with patch.record() as firings:
        states(model, [PROMPT])
    last = int(model.encode([PROMPT]).query[0])
    assert [(one.row, one.position, one.edit, one.layer) for one in firings] == [(0, last, "a", 1)]
    assert firings[0].distance == pytest.approx(-1, abs=1e-3)  # by the logit that the gate was given


@pytest.mark.parametrize("slots", [False, True])
def test_a_file_gives_the_same_patch_back(tmp_path: Path, slots: bool):
    draw = torch.Generator().manual_seed(0)
    gate = Gate(torch.randn(4, generator=draw), torch.randn((), generator=draw))
    table = Slots(*(torch.randn(size, generator=draw) for size in ((3, 4), (3,), (3, 4))))
    patch = adaptor(gate, table if slots else Affine(torch.randn(4, 4, generator=draw), torch.zeros(4)))
    save_patch(tmp_path / "p.safetensors", patch, {"name": "m", "fingerprint": "f"})
    loaded = load_patch(tmp_path / "p.safetensors")
    assert loaded.header() == patch.header()
    assert all(torch.equal(tensor, patch.tensors()[name]) for name, tensor in loaded.tensors().items())


def test_damage_is_told():
    whole = adaptor(Gate(torch.ones(3), torch.tensor(0.0)), constant(3, 1.0))
    tensors = whole.tensors()
    for change, told in (
        ({"gate.weight": torch.ones(4)}, "different width"),
        ({"answer.weight": torch.ones(3, 2)}, r"weight \(d, d\)"),
        ({"answer.weight": torch.ones(3, 3).half()}, "float32"),
        ({"gate.bias": torch.tensor(float("nan"))}, "NaN"),
        ({"answer.more": torch.ones(1)}, "needs the float32 tensors"),
    ):
        with pytest.raises(BadPatch, match=told):
            AdaptorPatch.from_parts(whole.header(), {**tensors, **change})
    with pytest.raises(BadPatch, match="unknown form of adaptor 'cubic'"):
        AdaptorPatch.from_parts({**whole.header(), "answer": "cubic"}, tensors)


def test_edits_of_one_call_cannot_be_parted():
    patch = adaptor(Gate(torch.ones(3), torch.tensor(0.0)), constant(3, 1.0), edits=("a", "b"))
    with pytest.raises(Inseparable, match="trained together"):
        patch.without({"a"})
    assert patch.without({"a", "b"}) is None


def test_it_refuses_a_model_it_does_not_fit():
    model = tiny_model("gpt2")
    with pytest.raises(WrongModel, match="width 3"):
        adaptor(Gate(torch.ones(3), torch.tensor(0.0)), constant(3, 1.0)).attach(model)
    wide = Gate(torch.ones(model.width), torch.tensor(0.0))
    with pytest.raises(WrongModel, match="block 9"):
        adaptor(wide, constant(model.width, 1.0), layer=9).attach(model)
