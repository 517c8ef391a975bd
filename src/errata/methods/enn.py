"""ENN: editable training (Sinitsin et al., 2020). The model learns to be where one step of gradient descent is an edit.

Trained are the last blocks' MLP matrices and a step size for each; an editor keeps the difference of the matrices from
the model's own. The difference comes with the first patch of an editor, later patches bring their step alone; when
the first one is undone, the Editor solves the later ones again, and the next of them brings it. Differs from the
published form: matrices are kept as differences, which saves the second copy of the model; the loss of every edit of a
batch counts in full; units are the matrices' own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from errata.edits import Edit
from errata.learn.course import Course
from errata.learn.inner import MEASURED, Editable, EditableTraining, Weights, changed, encoded, measured_units
from errata.learn.lessons import Lessons
from errata.learn.rewriting import every_token
from errata.learn.trained import TrainedEditor
from errata.methods._base import Fit, option, register_method
from errata.methods._learned import LearnedConfig, LearnedMethod
from errata.methods._sites import parse_matrices, top_blocks
from errata.models import EditableModel
from errata.models.factors import gradient_factors
from errata.models.hooks import as_matrix
from errata.patches.base import Patch
from errata.patches.weights import ONCE, Delta, Dense, WeightPatch, attached_patches
from errata.solve.draft import Draft


@register_method("enn", paper="arXiv:2004.00345", patch="weights", needs_training=True)
class Enn(LearnedMethod):
    """One step of gradient descent, on a model that was trained to need no more."""

    @dataclass(frozen=True)
    class Config(LearnedConfig):
        matrices: str = option("auto", 'matrices that a step changes: "up 5-7, down 5-7"; auto: of the last blocks')
        trained: Literal["inner", "all"] = option("inner", "training: these matrices move, or all of every block")
        lr: float = option(1e-3, "training: learning rate of Adam; 0.1 moves weights by their root mean square")
        lr_steps: float = option(1e-2, "training: learning rate of the logarithm of the step sizes")
        step: float = option(0.3, "training: step size at the start; 1 changes what a matrix writes by its usual size")
        edit_weight: float = option(1.0, "training: weight of the cross-entropy of the wanted answers (published: 0.1)")
        locality_weight: float = option(1.0, "training: weight of what a step does to other answers, a divergence")
        base_weight: float = option(1.0, "training: weight of what the difference does to other answers")

    def course(self, model: EditableModel, lessons: Lessons) -> Course:
        config = self.config
        inner = self._inner(model)
        every = [path for layer in range(len(model.arch)) for path in model.arch.matrices(layer).values()]
        paths = inner if config.trained == "inner" else list(dict.fromkeys([*inner, *every]))
        units = measured_units(model, inner, [lesson.edit for lesson in lessons.batch(0, MEASURED)])
        editable = Editable({path: _shape(model, path) for path in paths}, units, config.step).to(model.device)
        weights = Weights(config.edit_weight, config.locality_weight, config.base_weight)
        return EditableTraining(model, editable, weights, batch=config.batch, lr=config.lr, lr_steps=config.lr_steps)

    def facts(self, course: Course) -> dict[str, Any]:
        assert isinstance(course, EditableTraining)
        editable = course.editable
        steps = {path: float(size.detach()) for path, size in editable.steps().items()}
        units = dict(zip(editable.inner, editable.units, strict=True))
        return {"matrices": editable.paths, "units": units, "step_sizes": steps}

    def apply(self, model: EditableModel, editor: TrainedEditor, edits: Sequence[Edit], previous: Patch | None) -> Fit:
        key, editable = _key(editor), _editable(model, editor)
        bringing = _bringing(model, key)
        with torch.no_grad():
            difference = {} if bringing is not None else {path: one.clone() for path, one in editable.changes().items()}
            steps = {path: float(size.detach()) for path, size in editable.steps().items()}
        deltas = self._steps(model, edits, difference, steps)
        for path, change in difference.items():
            whole = change.cpu()
            deltas.get(f"{path}.weight", Dense(torch.zeros_like(whole))).add_to(whole)
            deltas[f"{path}.weight"] = Dense(whole)
        patch = WeightPatch(
            deltas, method=self.name, config=self.config.to_json(), edits=[str(edit.id) for edit in edits],
            repeats=bringing.edits if bringing is not None else (),
            memory={key: torch.ones(1)} if bringing is None else {},
        )  # fmt: skip
        return Fit(patch, {str(edit.id): {"brings_difference": bringing is None} for edit in edits})

    def _steps(
        self, model: EditableModel, edits: Sequence[Edit], difference: dict[str, Tensor], sizes: dict[str, float]
    ) -> dict[str, Delta]:
        """The step on the edits, batch by batch, each on top of those before."""
        size = self.config.batch
        with model.preserved(), changed(model, difference), Draft(model) as draft:
            for start in range(0, len(edits), size):
                batch = encoded(model, edits[start : start + size])
                for path, factors in gradient_factors(model, batch, sizes).items():
                    inputs, gradients = every_token(factors)
                    draft.add(f"{path}.weight", -sizes[path] * gradients.T, inputs)
            return draft.deltas()

    def _inner(self, model: EditableModel) -> list[str]:
        if self.config.matrices != "auto":
            return list(parse_matrices(model, self.config.matrices))
        blocks = [model.arch.matrices(block) for block in top_blocks(model)]
        return [roles[role] for roles in blocks for role in ("mlp_up", "mlp_down") if role in roles]


def _editable(model: EditableModel, editor: TrainedEditor) -> Editable:
    """The trained differences and step sizes, on the model's device."""
    shapes = {path: _shape(model, path) for path in editor.facts["matrices"]}
    editable = Editable(shapes, editor.facts["units"], step=1.0)
    editable.load_state_dict(dict(editor.tensors))
    return editable.to(model.device)


def _key(editor: TrainedEditor) -> str:
    """A name of this very editor: two trainings differ at least in the seconds they took."""
    told = json.dumps(editor.facts, sort_keys=True).encode()
    return f"{ONCE}{hashlib.sha256(told).hexdigest()[:16]}"


def _bringing(model: EditableModel, key: str) -> Patch | None:
    """The patch in force that holds this editor's difference."""
    return next((patch for patch in attached_patches(model) if key in patch.once), None)


def _shape(model: EditableModel, path: str) -> tuple[int, int]:
    rows, columns = as_matrix(model.model.get_submodule(path)).shape
    return rows, columns
