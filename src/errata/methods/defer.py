"""Defer: a gate at one block decides whether to defer to an affine map, as SERAC does between two models.

A baseline of GRACE (arXiv:2211.11031). As published the gate is sigmoid(a . x), training mixes g f(x) + (1 - g) x,
inference is hard at 0.5, and nothing but the edits is trained on, so that nothing keeps the gate shut elsewhere. The
released code is not usable; here every position is gated by itself, the gate starts open at the edits and shut at
average tokens, f starts at the identity, and each call leaves a gate of its own, so that undo is exact.
"""

from __future__ import annotations

from errata.methods._adapted import Adaptor
from errata.methods._base import register_method
from errata.solve.adaptors import AffineDraft, Frame


@register_method("defer", paper="arXiv:2211.11031", patch="adaptor")
class Defer(Adaptor):
    """A learned gate at one block with an affine map behind it."""

    def draft(self, frame: Frame) -> AffineDraft:
        return AffineDraft(frame)
