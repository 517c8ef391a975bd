"""Tuning the MLP down-projection of one block on the targets: what `ft` and `ft-l` have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from errata.edits import Edit
from errata.methods._base import Fit, Method, MethodConfig, option
from errata.models import EditableModel
from errata.patches.base import Patch
from errata.patches.weights import WeightPatch
from errata.solve.tuning import tune_matrices


@dataclass(frozen=True)
class TuningConfig(MethodConfig):
    """Which matrix moves, how fast and how long."""

    layer: int | float = option(0.6, "block whose MLP down-projection is tuned: number, or fraction of the depth")
    lr: float = option(0.02, "learning rate of Adam, in units of the matrix's root mean square")
    steps: int = option(100, "most optimisation steps")
    enough: float = option(0.01, "stop when the loss of every edit is below this, nats a token")
    rows: int = option(64, "edits in one forward")

    @property
    def bound(self) -> float | None:
        """Most that any one weight may change; None without a limit."""
        return None


class TunedMatrix(Method):
    """Adam on one matrix; the difference becomes the patch. Edits of one call are solved jointly."""

    Config = TuningConfig

    def fit(self, model: EditableModel, edits: Sequence[Edit], previous: Patch | None = None) -> Fit:
        config = self.config
        path = model.arch.matrix(model.layer_of(config.layer), "mlp_down")
        tuned = tune_matrices(
            model, edits, [path], lr=config.lr, steps=config.steps, enough=config.enough, batch_size=config.rows,
            epsilon=config.bound,
        )  # fmt: skip
        patch = WeightPatch.from_difference(
            tuned.before, tuned.after, method=self.name, config=config.to_json(), edits=[str(e.id) for e in edits]
        )
        return Fit(patch, tuned.descent.figures(edits))
