"""How strongly a big model may listen to a small one: as strongly as a loss ball allows (arXiv:2402.06155).

Knows the ball and a patch that can be heard more or less; how the patch was made is the caller's.
"""

from __future__ import annotations

from dataclasses import dataclass

from errata.models import EditableModel
from errata.patches.logits import LogitsPatch
from errata.solve.ball import Ball


@dataclass(frozen=True)
class Strength:
    """The largest beta that stays in the ball, or None; and the loss on general text with it, or with the least."""

    beta: float | None
    loss: float


def strongest(model: EditableModel, patch: LogitsPatch, ball: Ball) -> Strength:
    """From 1.0 down to 0.1 in steps of 0.1. The ball was made around the model without the patch, which is left off."""
    loss = ball.start
    for tenths in range(10, 0, -1):
        heard = patch.at(tenths / 10)
        heard.attach(model)
        try:
            loss = ball.loss()
        finally:
            heard.detach(model)
        if ball.holds(loss):
            return Strength(heard.beta, loss)
    return Strength(None, loss)
