"""FT-M: fine-tune one MLP matrix on the targets (the baseline of EasyEdit, `objective_optimization: target_new`).

Plain cross-entropy on the target's tokens, its end included. No constraint holds it back: an honest floor for locality.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from errata.edits import Edit
from errata.methods.base import Fit, Method, MethodConfig, option, register_method
from errata.models import EditableModel
from errata.patches.base import Patch
from errata.patches.weights import WeightPatch
from errata.solve.tuning import tune_matrices


@register_method("ft", paper="arXiv:2308.07269", patch="weights")
class FineTuning(Method):
    """Adam on the down-projection of one block's MLP until every target is the greedy answer."""

    @dataclass(frozen=True)
    class Config(MethodConfig):
        layer: int | float = option(0.6, "block whose MLP down-projection is tuned: number, or fraction of the depth")
        lr: float = option(5e-4, "learning rate of Adam")
        steps: int = option(100, "most optimisation steps")
        enough: float = option(0.01, "stop when the loss of every edit is below this, nats a token")
        batch_size: int = option(64, "edits in one forward")

    def fit(self, model: EditableModel, edits: Sequence[Edit], previous: Patch | None = None) -> Fit:
        config = self.config
        path = model.arch.matrix(model.layer_of(config.layer), "mlp_down")
        tuned = tune_matrices(
            model, edits, [path], lr=config.lr, steps=config.steps, enough=config.enough,
            batch_size=config.batch_size,
        )  # fmt: skip
        patch = WeightPatch.from_difference(
            tuned.before, tuned.after, method=self.name, config=config.to_json(), edits=[str(e.id) for e in edits]
        )
        return Fit(patch, tuned.descent.figures(edits))
