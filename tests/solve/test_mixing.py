"""How much of a patch is taken: the largest share in a ball, on losses that are known and as measured, and the best."""

from __future__ import annotations

import pytest
import torch

from contract.marks import marks
from ensembles import big, ensemble, sense_patch, small
from errata.models import EditableModel
from errata.patches.base import in_force
from errata.patches.logits import LogitsPatch
from errata.patches.weights import Rows, WeightPatch, parameter_view
from errata.solve.ball import Ball
from errata.solve.mixing import SHARES, TENTHS, best, largest_inside
from solve.known import Known
from tiny import tiny_model


def loss_of(model: EditableModel) -> float:
    """2 nats, and 1 % more at full strength."""
    heard = [patch.beta for patch in in_force(model) if isinstance(patch, LogitsPatch)]
    return 2.0 * (1 + 0.01 * sum(heard))


@pytest.mark.parametrize(
    ("epsilon", "beta", "loss"),
    [(0.02, 1.0, 2.02), (0.0045, 0.4, 2.008), (0.0041, 0.4, 2.008), (0.0011, 0.1, 2.002), (0.0009, None, 2.002)],
)
def test_it_goes_down_by_tenths_until_the_loss_is_inside(epsilon: float, beta: float | None, loss: float) -> None:
    model = big()
    before = marks(model)
    patch = ensemble(small(), [sense_patch()])
    found = largest_inside(model, patch.at, Ball(epsilon, Known(lambda: loss_of(model))), TENTHS)
    assert found.share == (None if beta is None else pytest.approx(beta))
    assert (found.patch is None) == (beta is None)
    assert found.patch is None or found.patch.beta == found.share
    assert found.loss == pytest.approx(loss)
    assert marks(model) == before


def test_shares_of_an_update_are_on_the_line_between_the_weights() -> None:
    model = tiny_model("gpt2")
    name = "transformer.wte.weight"
    before = parameter_view(model.model, name).clone()
    generator = torch.Generator().manual_seed(0)
    change = torch.randn(before.shape, generator=generator) / 20
    patch = WeightPatch.from_difference({name: before}, {name: before + change}, method="x", config={}, edits=["e1"])
    ball = Ball.around(model, 1e-2)
    found = largest_inside(model, patch.scaled, ball)
    share, mixed = found.share, found.patch
    assert share is not None
    assert mixed is not None
    assert share in SHARES
    assert share < 1
    assert not mixed.attached
    assert mixed.order is None
    mixed.attach(model)
    assert torch.allclose(parameter_view(model.model, name), before + share * change, atol=1e-5)
    assert ball.holds(ball.loss())
    assert ball.loss() == found.loss
    mixed.detach(model)
    larger = SHARES[SHARES.index(share) - 1]
    patch.scaled(larger).attach(model)
    assert not ball.holds(ball.loss())


def test_of_equal_scores_the_smallest_share_is_taken() -> None:
    model = tiny_model("gpt2")
    name = "transformer.h.1.mlp.c_proj.weight"
    delta = Rows(torch.tensor([0]), torch.ones(1, 48))
    patch = WeightPatch({name: delta}, method="x", config={}, edits=["e1"])
    scores = iter([1.0, 3.0, 2.0, None, 3.0, *[0.0] * len(SHARES)])
    found = best(model, patch.scaled, lambda: next(scores))
    assert found is not None
    assert found[:2] == (3.0, SHARES[4])
