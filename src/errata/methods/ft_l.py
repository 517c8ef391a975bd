"""FT-L: fine-tuning under a norm constraint (Zhu et al., 2020, as used in ROME's comparison).

No weight may move by more than `epsilon`. The published code scores every target token from the last prompt position;
here each is scored where it is generated, end token included, which is what an answer needs.
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


@register_method("ft-l", paper="arXiv:2012.00363", patch="weights")
class ConstrainedFineTuning(Method):
    """Adam on one MLP down-projection, clamped after each step to an L-infinity ball around the weights before."""

    @dataclass(frozen=True)
    class Config(MethodConfig):
        layer: int | float = option(0.0, "block whose MLP down-projection is tuned: number, or fraction of the depth")
        epsilon: float = option(5e-3, "most that any one weight may change")
        lr: float = option(5e-4, "learning rate of Adam")
        steps: int = option(50, "most optimisation steps")
        enough: float = option(0.01, "stop when the loss of every edit is below this, nats a token")
        batch_size: int = option(64, "edits in one forward")

    def fit(self, model: EditableModel, edits: Sequence[Edit], previous: Patch | None = None) -> Fit:
        config = self.config
        path = model.arch.matrix(model.layer_of(config.layer), "mlp_down")
        tuned = tune_matrices(
            model, edits, [path], lr=config.lr, steps=config.steps, enough=config.enough,
            batch_size=config.batch_size, epsilon=config.epsilon,
        )  # fmt: skip
        patch = WeightPatch.from_difference(
            tuned.before, tuned.after, method=self.name, config=config.to_json(), edits=[str(e.id) for e in edits]
        )
        return Fit(patch, tuned.descent.figures(edits))
