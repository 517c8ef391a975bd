"""FT-M: fine-tune one MLP matrix on the targets (the baseline of EasyEdit, `objective_optimization: target_new`).

Plain cross-entropy on the target's tokens, its end included. No constraint holds it back: an honest floor for locality.
"""

from __future__ import annotations

from errata.edits import GOALS
from errata.methods._base import register_method
from errata.methods._tuned import TunedMatrix


@register_method("ft", paper="arXiv:2308.07269", patch="weights", goals=GOALS)
class FineTuning(TunedMatrix):
    """Adam on the down-projection of one block's MLP until every target is the greedy answer."""
