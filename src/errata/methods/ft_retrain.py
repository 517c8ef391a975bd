"""FT-Retrain: fine-tuning that now and then goes through all its earlier edits again (replay).

A baseline of GRACE (arXiv:2211.11031). As published, every 50 edits there are 5 passes over all edits so far; in
between this is `ft`. Prompts and targets are kept in the patches, so what is replayed are the edits in force. A patch
names the edits that it repeated: when one of those is undone, the Editor fits it again without it, or the undone edit
would live on there. The released code does not run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from errata.edits import Edit
from errata.methods._base import option, register_method
from errata.methods._tuned import MatrixConfig, TunedMatrix
from errata.models import EditableModel
from errata.solve.descent import Descent, measure, rehearse
from errata.solve.goals import aims
from errata.solve.tuning import Borrowed


@register_method("ft-retrain", paper="arXiv:2211.11031", patch="weights")
class ReplayedFineTuning(TunedMatrix):
    """Fine-tuning one MLP matrix, with passes over all earlier edits every so many edits."""

    remembers = True

    @dataclass(frozen=True)
    class Config(MatrixConfig):
        every: int = option(50, "edits after which all edits so far are gone through again")
        passes: int = option(5, "times they are gone through")
        replayed: int = option(10, "edits in one step of a pass")

    def repeated(self, model: EditableModel, edits: Sequence[Edit]) -> list[Edit]:
        past = self.past(model, edits)
        before, every = len(past), max(1, self.config.every)
        return past if (before + len(edits)) // every > before // every else []

    def train(
        self, model: EditableModel, matrices: Borrowed, edits: Sequence[Edit], repeated: Sequence[Edit]
    ) -> Descent:
        config = self.config
        descent = self.descend(model, matrices, edits)
        if not repeated:
            return descent
        work = aims(model, [*repeated, *edits], config.replayed)
        steps = rehearse(model, matrices.rates(config.lr), work, passes=config.passes, seed=config.seed)
        return measure(model, aims(model, edits, config.rows), descent.steps + steps)
