"""Replacing, capturing and orienting."""

from contextlib import suppress

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from errata.models.hooks import as_matrix, capture, replace_output
from tiny import ARCHITECTURES, tiny_model


class Pair(nn.Module):
    def forward(self, hidden: torch.Tensor) -> tuple[torch.Tensor, str]:
        return hidden * 2, "rest"


def test_replace_output_of_a_tensor_and_of_a_tuple() -> None:
    plain, pair = nn.Identity(), Pair()
    handles = [replace_output(module, lambda hidden: hidden + 1) for module in (plain, pair)]
    value = torch.tensor([3.0])
    assert plain(value).tolist() == [4.0]
    hidden, rest = pair(value)
    assert (hidden.tolist(), rest) == ([7.0], "rest")
    for handle in handles:
        handle.remove()
    assert plain(value).tolist() == [3.0]
    assert pair(value)[0].tolist() == [6.0]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_capture_inputs_and_outputs_of_the_model(name: str) -> None:
    model = tiny_model(name)
    path = model.arch.matrix(1, "mlp_down")
    module = model.model.get_submodule(path)
    batch = model.encode(["The capital of France is", "Rome"])
    outputs, inputs = capture(model.model, [path]), capture(model.model, [path], what="input")
    with torch.no_grad(), outputs as outs, inputs as ins:
        model.forward(batch)
    assert len(ins[path]) == len(outs[path]) == 1
    computed = ins[path][0] @ as_matrix(module).T
    bias = module.bias if isinstance(module.bias, torch.Tensor) else 0  # type: ignore[union-attr]
    torch.testing.assert_close(computed + bias, outs[path][0], atol=1e-5, rtol=1e-5)
    assert computed.shape[-1] == model.width


def test_capture_ends_with_its_context() -> None:
    model = tiny_model("gpt2")
    blocks = list(model.arch.blocks[:2])
    batch = model.encode(["Rome"])
    with suppress(ZeroDivisionError), capture(model.model, blocks) as record:
        model.forward(batch)
        model.forward(batch)
        raise ZeroDivisionError
    model.forward(batch)
    assert {path: len(tensors) for path, tensors in record.items()} == {blocks[0]: 2, blocks[1]: 2}
    with pytest.raises(AttributeError), capture(model.model, [blocks[0], "nowhere"]):
        pass
    assert not model.block(0)._forward_hooks


def test_capture_keeps_the_graph() -> None:
    model = tiny_model("gpt2")
    with capture(model.model, [model.arch.blocks[0]]) as record:
        logits = model.forward(model.encode(["Rome"]))
    (gradient,) = torch.autograd.grad(logits.sum(), record[model.arch.blocks[0]][0])
    assert gradient.abs().max() > 0


def test_as_matrix_is_out_by_in_and_writes_through() -> None:
    linear, conv = nn.Linear(3, 2), Conv1D(2, 3)  # both map 3 to 2
    for module in (linear, conv):
        matrix = as_matrix(module)
        assert matrix.shape == (2, 3)
        assert not matrix.requires_grad
        matrix.copy_(torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]))
        with torch.no_grad():
            module.bias.zero_()
        assert module(torch.tensor([[1.0, 0.0, 1.0]])).tolist() == [[4.0, 10.0]]
