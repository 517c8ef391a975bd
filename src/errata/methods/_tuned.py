"""Tuning parameters of a model on the targets: what the fine-tuning methods have in common.

Knows the parameters, most often one matrix, the descent and the patch it leaves. What holds the descent back is each
method's own.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Unpack

from errata.edits import Edit
from errata.methods._base import Fit, Method, option
from errata.methods._examples import GoalConfig, bounds
from errata.models import EditableModel
from errata.patches.base import Patch
from errata.patches.weights import WeightPatch, attached_patches
from errata.solve.descent import Descent, Held, descend
from errata.solve.goals import aims
from errata.solve.tuning import Borrowed, borrowed


@dataclass(frozen=True)
class TuningConfig(GoalConfig):
    """How fast and how long."""

    lr: float = option(0.01, "learning rate of Adam, in units of a parameter's root mean square")
    steps: int = option(100, "most optimisation steps")
    enough: float = option(0.3, "stop when the loss of every edit is below this, nats a token")
    rows: int = option(64, "edits in one forward")


@dataclass(frozen=True)
class MatrixConfig(TuningConfig):
    """Which matrix moves."""

    layer: int | float = option(0.6, "block whose MLP down-projection is tuned: number, or fraction of the depth")


class Tuned(Method):
    """Adam on some parameters; the difference becomes the patch. Edits of one call are solved jointly."""

    Config = TuningConfig
    remembers: ClassVar[bool] = False  # whether its patches keep what was asked, for patches to come

    @abstractmethod
    def names(self, model: EditableModel) -> list[str]:
        """The parameters that move."""

    def fit(self, model: EditableModel, edits: Sequence[Edit], previous: Patch | None = None) -> Fit:
        repeated = self.repeated(model, edits)
        with borrowed(model, self.names(model)) as matrices:
            descent = self.train(model, matrices, edits, repeated)
            after = matrices.now()
        patch = WeightPatch.from_difference(
            matrices.before, after, method=self.name, config=self.config.to_json(), edits=[str(e.id) for e in edits],
            requests=edits if self.remembers else (), repeats=[str(edit.id) for edit in repeated],
        )  # fmt: skip
        return Fit(patch, descent.figures(edits))

    def repeated(self, model: EditableModel, edits: Sequence[Edit]) -> list[Edit]:
        """Earlier edits that are trained again with these."""
        return []

    def train(
        self, model: EditableModel, matrices: Borrowed, edits: Sequence[Edit], repeated: Sequence[Edit]
    ) -> Descent:
        """Move the parameters until they give every edit's target."""
        return self.descend(model, matrices, edits)

    def descend(
        self, model: EditableModel, matrices: Borrowed, edits: Sequence[Edit], **held: Unpack[Held]
    ) -> Descent:
        config = self.config
        return descend(
            model, matrices.rates(config.lr), aims(model, edits, config.rows), steps=config.steps,
            enough=config.enough, schedule=config.schedule, **bounds(model, config, held),
        )  # fmt: skip

    def past(self, model: EditableModel, edits: Sequence[Edit]) -> list[Edit]:
        """The edits of this method's patches in force, oldest first: of a prompt the last, and no prompt of `edits`."""
        patches = [patch for patch in attached_patches(model) if patch.method == self.name]
        asked: dict[str, Edit] = {}
        for edit in (edit for patch in patches for edit in patch.requests):
            asked.pop(edit.prompt, None)
            asked[edit.prompt] = edit
        renewed = {edit.prompt for edit in edits}
        return [edit for prompt, edit in asked.items() if prompt not in renewed]


class TunedMatrix(Tuned):
    """The MLP down-projection of one block alone."""

    Config = MatrixConfig

    def names(self, model: EditableModel) -> list[str]:
        return [f"{model.arch.matrix(model.layer_of(self.config.layer), 'mlp_down')}.weight"]
