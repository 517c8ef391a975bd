"""The diagonal Fisher against gradients taken one edit at a time, and what it leaves behind."""

from __future__ import annotations

import torch

from errata import Edit
from errata.models.losses import target_loss
from errata.solve.descent import batches
from errata.solve.fisher import diagonal_fisher
from tiny import tiny_model

EDITS = [Edit("The capital of France is", "Rome"), Edit("Who wrote the book?", "Paris")]


def test_it_is_the_mean_of_squared_gradients():
    model = tiny_model("gpt2")
    weight = model.model.get_submodule(model.arch.matrix(1, "mlp_down")).get_parameter("weight")
    squares = []
    for edit in EDITS:
        batch = model.encode([edit.prompt], [edit.target])
        assert batch.gold is not None
        loss = target_loss(model.forward(batch), batch.gold)[0]
        squares.append(torch.autograd.grad(loss, weight)[0].square())
    with model.preserved():
        (fisher,) = diagonal_fisher(model, [weight], batches(model, EDITS, 1))
        assert weight.grad is None
    torch.testing.assert_close(fisher, (squares[0] + squares[1]) / 2)
    assert float(fisher.max()) > 0
