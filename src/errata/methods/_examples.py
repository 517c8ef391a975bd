"""What the methods that also take canonical examples have in common: how far they may go from the model as it was.

Knows options, the ball and the tether; which numbers move is each method's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from errata.methods._base import MethodConfig, option
from errata.models import EditableModel
from errata.solve.ball import TEXTS, Ball
from errata.solve.descent import Held
from errata.solve.general import Tether, stretches

TETHERS = 16  # stretches of general text that a tether draws from


@dataclass(frozen=True)
class GoalConfig(MethodConfig):
    """What holds a descent near the model it left."""

    ball: float | None = option(
        None, "end at the last state whose loss on general text is below (1 + ball) times the model's own, such as 1e-4"
    )
    kl: float = option(0.0, "weight of the divergence from the model as it was, on a stretch of general text each step")
    corpus: str | None = option(
        None, "general text for ball and kl: a file or a data set; prose in the package by default"
    )
    schedule: Literal["constant", "cosine"] = option("constant", "learning rate over the steps")


def bounds(model: EditableModel, config: GoalConfig, held: Held) -> Held:
    """What the options hold a descent back by, besides what the method does; measured on the model as it is now.

    Raises: BadConfig (the model is not causal, the corpus cannot be read or is too short).
    """
    bound = held.copy()
    if config.ball is not None:
        bound["ball"] = Ball.around(model, config.ball, config.corpus)
    if config.kl > 0:
        text = stretches(model, config.corpus, TETHERS, skip=TEXTS)  # other text than the ball's
        bound["penalties"] = [*held.get("penalties", ()), Tether(model, config.kl, text, config.seed)]
    return bound
