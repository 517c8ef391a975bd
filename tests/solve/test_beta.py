"""The largest beta that stays in a ball, on losses that are known."""

from __future__ import annotations

import pytest

from contract.marks import marks
from ensembles import big, ensemble, sense_patch, small
from errata.models import EditableModel
from errata.patches.base import in_force
from errata.patches.logits import LogitsPatch
from errata.solve.ball import Ball
from errata.solve.beta import strongest


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
    found = strongest(model, ensemble(small(), [sense_patch()], 0.7), Ball(epsilon, lambda: loss_of(model)))
    assert found.beta == (None if beta is None else pytest.approx(beta))
    assert found.loss == pytest.approx(loss)
    assert marks(model) == before
