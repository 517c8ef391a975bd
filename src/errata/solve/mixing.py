"""How much of an update to take: states on the line W(a) = (1 - a) W_0 + a W between a model before and after it.

One-layer interpolation (arXiv:2303.00046) chooses a on validation; any weight patch can be brought into a ball by it.
Knows patches and what is measured; which update it is, is the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from errata.models import EditableModel
from errata.patches.weights import WeightPatch
from errata.solve.ball import Ball

SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01)


def mixtures(model: EditableModel, patch: WeightPatch) -> Iterator[tuple[float, WeightPatch]]:
    """(a, patch) for every share, the largest first; the patch is in force until the next one is asked for."""
    for share in SHARES:
        mixed = patch.scaled(share)
        with _attached(model, mixed):
            yield share, mixed


def largest_inside(model: EditableModel, patch: WeightPatch, ball: Ball) -> tuple[float, WeightPatch] | None:
    """The largest share of the patch with which the model is inside the ball; None if none is."""
    for share, mixed in mixtures(model, patch):
        if ball.holds(ball.loss()):
            return share, mixed
    return None


def best(
    model: EditableModel, patch: WeightPatch, score: Callable[[], float | None]
) -> tuple[float, float, WeightPatch] | None:
    """(score, a, patch) of the share with the best score of the model, the smallest of several; None scores out."""
    found: tuple[float, float, WeightPatch] | None = None
    for share, mixed in mixtures(model, patch):
        value = score()
        if value is not None and (found is None or value >= found[0]):
            found = (value, share, mixed)
    return found


@contextmanager
def _attached(model: EditableModel, patch: WeightPatch) -> Iterator[None]:
    patch.attach(model)
    try:
        yield
    finally:
        patch.detach(model)
