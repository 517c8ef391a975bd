"""Running the blocks above a layer equals running the model, on every architecture."""

import pytest
import torch

from errata.models import Batch, EditableModel
from errata.models.hooks import replace_output
from errata.models.losses import target_loss
from tiny import ARCHITECTURES, tiny_model

PROMPTS = ["The capital of France is", "Who wrote", "The mother tongue of Danielle Darrieux is"]
TARGETS = ["Paris", "the book", "French"]
LABELS = ["yes", "no", "maybe"]


def encoded(model: EditableModel, side: str) -> Batch:
    targets = LABELS if model.task == "classification" else TARGETS
    return model.encode(PROMPTS, targets, padding_side=side)  # type: ignore[arg-type]


def layers(model: EditableModel) -> list[int]:
    return sorted({0, len(model.arch) // 2 - 1, len(model.arch) // 2, len(model.arch) - 1})


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_resume_equals_the_whole_forward(name: str, side: str) -> None:
    model = tiny_model(name)
    batch = encoded(model, side)
    rows = torch.tensor([2, 0])
    with torch.no_grad():
        whole = model.forward(batch)
        for layer in layers(model):
            prefix = model.prefix(batch, layer)
            torch.testing.assert_close(prefix.resume(prefix.hidden), whole, atol=1e-5, rtol=0)
            some = prefix.resume(prefix.hidden[rows], rows=rows)
            torch.testing.assert_close(some, whole[rows], atol=1e-5, rtol=0)
            last = prefix.resume(prefix.hidden[:1], rows=torch.tensor([True, False, False]), keep=2)
            torch.testing.assert_close(last, whole[:1, -2:], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_columns_before_the_start_are_left_out(name: str) -> None:
    model = tiny_model(name)
    if model.task != "causal":
        assert model.prefix(encoded(model, "left"), 0, 2).start == 0
        return
    whole_batch = encoded(model, "left")
    batch, start = whole_batch.aligned(whole_batch.query, model.pad_id)
    assert (batch.query == start).all()
    rows = torch.tensor([2, 0])
    with torch.no_grad():
        whole = model.forward(batch)
        # Padded anew, every row still says the same.
        for row, (old, new) in enumerate(zip(whole_batch.query.tolist(), batch.query.tolist(), strict=True)):
            torch.testing.assert_close(whole[row, new], model.forward(whole_batch)[row, old], atol=1e-5, rtol=0)
        for layer in layers(model):
            prefix = model.prefix(batch, layer, start)
            assert prefix.start == start
            assert prefix.hidden.shape[1] == batch.input_ids.shape[1] - start
            real = batch.attention_mask[:, start:].bool()
            for _ in range(2):  # what was read before is not written on
                torch.testing.assert_close(
                    prefix.resume(prefix.hidden)[real], whole[:, start:][real], atol=1e-5, rtol=0
                )
            some = prefix.resume(prefix.hidden[rows], rows=rows, keep=1)
            last = batch.attention_mask[rows, -1].bool()
            torch.testing.assert_close(some[last], whole[rows, -1:][last], atol=1e-5, rtol=0)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_gradient_is_that_of_the_whole_model(name: str, side: str) -> None:
    model = tiny_model(name)
    batch = encoded(model, side)
    assert batch.gold is not None
    with model.preserved():
        for layer in layers(model):
            prefix = model.prefix(batch, layer)
            assert not prefix.hidden.requires_grad
            hidden = prefix.hidden.clone().requires_grad_()
            loss = target_loss(prefix.resume(hidden, keep=batch.keep), batch.gold).sum()
            (gradient,) = torch.autograd.grad(loss, hidden)
            added = torch.zeros_like(prefix.hidden, requires_grad=True)
            handle = replace_output(model.block(layer), added.add)
            whole = target_loss(model.forward(batch), batch.gold).sum()
            handle.remove()
            (wanted,) = torch.autograd.grad(whole, added)
            assert gradient.abs().max() > 1e-4
            torch.testing.assert_close(gradient, wanted, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_stand_ins_leave_no_trace(name: str) -> None:
    model = tiny_model(name)
    batch = encoded(model, "right")
    before = list(model.model.named_modules())
    hooks = [len(module._forward_hooks) for _, module in before]
    prefix = model.prefix(batch, 1)
    resumed = prefix.resume(prefix.hidden)
    with pytest.raises(RuntimeError):  # a state of the wrong width fails in the block above
        prefix.resume(prefix.hidden[..., :5])
    after = list(model.model.named_modules())
    assert [(path, id(module)) for path, module in after] == [(path, id(module)) for path, module in before]
    assert [len(module._forward_hooks) for _, module in after] == hooks
    assert torch.equal(prefix.resume(prefix.hidden), resumed)


def test_failing_prefix_leaves_no_trace() -> None:
    model = tiny_model("gpt2")
    batch = encoded(model, "right")
    before = [id(module) for module in model.model.modules()]

    def fail(_hidden: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("boom")

    handle = replace_output(model.block(1), fail)
    with pytest.raises(RuntimeError, match="boom"):
        model.prefix(batch, 1)
    handle.remove()
    assert [id(module) for module in model.model.modules()] == before
    assert not model.block(1)._forward_hooks


def test_suffix_keeps_stand_ins_until_it_ends() -> None:
    model = tiny_model("t5")
    batch = encoded(model, "right")
    blocks = [model.block(layer) for layer in range(len(model.arch))]
    prefix = model.prefix(batch, 4)
    alone = prefix.resume(prefix.hidden)
    with prefix.suffix() as resume:
        own = [model.block(layer) is blocks[layer] for layer in range(6)]
        assert own == [True] * 3 + [False] * 2 + [True]
        assert torch.equal(resume(prefix.hidden), alone)
        assert torch.equal(prefix.resume(prefix.hidden), alone)
    assert [model.block(layer) for layer in range(6)] == blocks
    with pytest.raises(ZeroDivisionError), prefix.suffix():
        raise ZeroDivisionError
    assert [model.block(layer) for layer in range(6)] == blocks


@pytest.mark.parametrize("name", ["gpt2", "t5", "bert"])
def test_only_the_blocks_above_run(name: str) -> None:
    model = tiny_model(name)
    batch = encoded(model, "right")
    layer = len(model.arch) - 2
    ran: list[int] = []
    for index in range(len(model.arch)):
        model.block(index).register_forward_hook(lambda *_, index=index: ran.append(index))
    prefix = model.prefix(batch, layer)
    assert ran == list(range(layer + 1))
    ran.clear()
    prefix.resume(prefix.hidden)
    assert ran == [layer + 1]


def test_hidden_is_what_the_next_block_reads() -> None:
    """Hooks on the block, such as those of an attached patch, have already acted and do not act again."""
    model = tiny_model("llama")
    batch = encoded(model, "left")
    bare = model.prefix(batch, 1).hidden
    replace_output(model.block(1), lambda hidden: hidden + 1)
    prefix = model.prefix(batch, 1)
    torch.testing.assert_close(prefix.hidden, bare + 1)
    with torch.no_grad():
        torch.testing.assert_close(prefix.resume(prefix.hidden), model.forward(batch), atol=1e-5, rtol=0)


def test_prefix_is_taken_in_eval_mode() -> None:
    model = tiny_model("bert")  # dropout 0.1 by default
    batch = encoded(model, "right")
    calm = model.prefix(batch, 2).hidden
    model.model.train()
    assert torch.equal(model.prefix(batch, 2).hidden, calm)
    assert model.model.training
    assert model.block(0).training


def test_negative_and_fractional_layers() -> None:
    model = tiny_model("gpt2")
    batch = encoded(model, "right")
    assert torch.equal(model.prefix(batch, -1).hidden, model.prefix(batch, 3).hidden)


def test_what_rides_along_is_taken_row_by_row() -> None:
    """A position bias may hold one entry a row, as it does where the mask is folded into it."""
    model = tiny_model("t5")
    batch = encoded(model, "left")
    scale = torch.tensor([1.0, 2.0, 3.0])[:, None, None, None]
    model.block(1).register_forward_hook(lambda _module, _args, out: (out[0], out[1] * scale, out[2]))
    rows = torch.tensor([2, 0])
    with torch.no_grad():
        whole = model.forward(batch)
        prefix = model.prefix(batch, 1)
        resumed = prefix.resume(prefix.hidden[rows], rows=rows)
    torch.testing.assert_close(resumed, whole[rows], atol=1e-5, rtol=0)
