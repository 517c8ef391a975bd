"""Factors of a gradient: their product is the gradient that autograd gives each row alone."""

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from errata.errors import BadModel
from errata.models.factors import gradient_factors
from errata.models.losses import target_loss
from tiny import tiny_model

PROMPTS = ["The capital of France is", "Who wrote"]
TARGETS = ["Paris", "the book"]
LABELS = ["yes", "no"]


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("name", ["gpt2", "llama", "opt", "gptj", "t5", "bert"])
def test_the_product_is_the_gradient_of_a_row_alone(name: str, side: str) -> None:
    model = tiny_model(name)
    model.model.double()
    targets = LABELS if model.task == "classification" else TARGETS
    paths = [path for block in (0, len(model.arch) - 1) for path in model.arch.matrices(block).values()]
    factors = gradient_factors(model, model.encode(PROMPTS, targets, padding_side=side), paths)  # type: ignore[arg-type]
    for row in range(2):
        alone = model.encode(PROMPTS[row : row + 1], targets[row : row + 1])
        assert alone.gold is not None
        model.model.zero_grad()
        target_loss(model.forward(alone), alone.gold).sum().backward()
        for path in paths:
            module = model.model.get_submodule(path)
            gradient = module.get_parameter("weight").grad
            assert gradient is not None
            wanted = gradient.T if isinstance(module, Conv1D) else gradient
            largest = float(wanted.abs().max())
            assert largest > 1e-5
            torch.testing.assert_close(factors[path].matrix(row), wanted, atol=1e-6 * largest, rtol=0)


def test_tokens_without_gradient_are_left_out() -> None:
    model = tiny_model("gpt2")
    batch = model.encode(PROMPTS, TARGETS)
    path = model.arch.matrix(3, "mlp_down")
    factors = gradient_factors(model, batch, [path])[path]
    width = batch.input_ids.shape[1]
    assert factors.inputs.shape == (2, width, 48)
    assert factors.gradients.shape == (2, width, 32)
    assert batch.gold is not None
    # In the last block only the tokens that predict the target have a gradient.
    scored = (batch.gold != -100).sum(1).tolist()
    assert [len(factors.tokens(row)[0]) for row in range(2)] == scored


def test_the_model_is_left_as_it_was() -> None:
    model = tiny_model("bert")
    model.model.train()
    before = model.fingerprint()
    trainable = [weight.requires_grad for weight in model.model.parameters()]
    gradient_factors(model, model.encode(PROMPTS, LABELS), [model.arch.matrix(1, "attn_out")])
    assert model.fingerprint() == before
    assert model.model.training
    assert [weight.requires_grad for weight in model.model.parameters()] == trainable
    assert all(weight.grad is None for weight in model.model.parameters())
    assert not any(module._forward_hooks for module in model.model.modules())


def test_a_matrix_that_takes_no_part() -> None:
    model = tiny_model("gpt2")
    model.model.add_module("spare", nn.Linear(2, 2))
    with pytest.raises(BadModel, match="matrix 'spare' runs 0 times"):
        gradient_factors(model, model.encode(PROMPTS, TARGETS), ["spare"])
