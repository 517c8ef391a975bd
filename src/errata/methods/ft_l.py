"""FT-L: fine-tuning under a norm constraint (Zhu et al., 2020, as used in ROME's comparison).

No weight may move by more than `epsilon`. The published code scores every target token from the last prompt position;
here each is scored where it is generated, end token included, which is what an answer needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from errata.edits import GOALS, Edit
from errata.methods._base import option, register_method
from errata.methods._tuned import MatrixConfig, TunedMatrix
from errata.models import EditableModel
from errata.solve.descent import Descent
from errata.solve.tuning import Borrowed


@register_method("ft-l", paper="arXiv:2012.00363", patch="weights", goals=GOALS)
class ConstrainedFineTuning(TunedMatrix):
    """Adam on one MLP down-projection, clamped after each step to an L-infinity ball around the weights before."""

    @dataclass(frozen=True)
    class Config(MatrixConfig):
        epsilon: float = option(0.25, "most that any one weight may change, in units of the matrix's root mean square")

    def train(
        self, model: EditableModel, matrices: Borrowed, edits: Sequence[Edit], repeated: Sequence[Edit]
    ) -> Descent:
        return self.descend(model, matrices, edits, project=lambda: matrices.clamp(self.config.epsilon))
