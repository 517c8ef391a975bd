"""How much of a patch to take: of an update a share on the line W(a) = (1 - a) W_0 + a W, of an ensemble a beta.

One-layer interpolation (arXiv:2303.00046) chooses a on validation; a loss ball allows the largest share with which the
model is inside it (arXiv:2402.06155). Knows patches that can be taken in part and what is measured; how a part of a
patch is made, and which patch it is, is the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from errata.models import EditableModel
from errata.patches.base import Patch
from errata.solve.ball import Ball

P = TypeVar("P", bound=Patch)

SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01)
TENTHS = SHARES[:10]


@dataclass(frozen=True)
class Inside(Generic[P]):
    """The largest share inside a ball and the patch of it, or None; the loss on general text with it, or the least."""

    share: float | None
    patch: P | None
    loss: float


def mixtures(
    model: EditableModel, part: Callable[[float], P], shares: Sequence[float] = SHARES
) -> Iterator[tuple[float, P]]:
    """(a, part(a)) for every share, as they come; the patch is in force until the next one is asked for."""
    for share in shares:
        mixed = part(share)
        with _attached(model, mixed):
            yield share, mixed


def largest_inside(
    model: EditableModel, part: Callable[[float], P], ball: Ball, shares: Sequence[float] = SHARES
) -> Inside[P]:
    """The first of `shares`, the largest first, whose patch `part(share)` leaves the model inside the ball.

    The ball was made around the model without the patch. No patch is left in force.
    """
    loss = ball.start
    for share, mixed in mixtures(model, part, shares):
        loss = ball.loss(ball.edge)
        if ball.holds(loss):
            return Inside(share, mixed, loss)
    return Inside(None, None, loss)


def best(
    model: EditableModel, part: Callable[[float], P], score: Callable[[], float | None],
    shares: Sequence[float] = SHARES,
) -> tuple[float, float, P] | None:
    """(score, a, patch) of the share with the best score of the model, the last of several; None scores out."""
    found: tuple[float, float, P] | None = None
    for share, mixed in mixtures(model, part, shares):
        value = score()
        if value is not None and (found is None or value >= found[0]):
            found = (value, share, mixed)
    return found


@contextmanager
def _attached(model: EditableModel, patch: Patch) -> Iterator[None]:
    order = patch.order
    patch.attach(model)
    try:
        yield
    finally:
        patch.detach(model)
        patch.order = order  # a trial is no place among other patches
