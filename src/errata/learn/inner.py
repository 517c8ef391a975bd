"""Editable training: a model is moved to where one step of gradient descent makes an edit (Sinitsin et al., 2020).

What is learned is the difference of some matrices from the model's own, and a step size for every matrix that a step
changes; both act through hooks, so there is no second model, and without them it is the model as it was. The step
itself is differentiated. Knows models, lessons and matrices; what becomes of a step afterwards is a method's own.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from errata.edits import Edit
from errata.learn.course import Course
from errata.learn.lessons import Lesson
from errata.learn.objective import Asked, averaged, divergence, kept, log_chances, right, wanted
from errata.models import Batch, EditableModel
from errata.models.factors import gradient_factors
from errata.models.hooks import added, as_matrix
from errata.models.losses import target_loss

Changes = Mapping[str, Tensor]
"""By module path what is added to the matrix, (d_out, d_in) float32."""

MEASURED = 64  # edits from which the unit of a step is taken


def changed(model: EditableModel, changes: Changes) -> AbstractContextManager[None]:
    """Inside, the model computes with the changes added to its matrices; gradients reach them."""
    return added(model.model, {path: partial(functional.linear, weight=one) for path, one in changes.items()})


def encoded(model: EditableModel, edits: Sequence[Edit]) -> Batch:
    """The edits' own prompts and targets."""
    return model.encode([edit.prompt for edit in edits], [edit.target for edit in edits])


def measured_units(model: EditableModel, paths: Sequence[str], edits: Sequence[Edit]) -> dict[str, float]:
    """The step size that changes what a matrix writes by about its usual size, at the token that an edit moves most."""
    found = {}
    for path, factors in gradient_factors(model, encoded(model, edits), paths).items():
        matrix = as_matrix(model.model.get_submodule(path)).float()
        pairs = [tuple(part.float() for part in factors.tokens(row)) for row in range(len(factors))]
        usual = torch.stack([(inputs @ matrix.T).norm(dim=1).mean() for inputs, _ in pairs])
        moved = torch.stack([(inputs.square().sum(1) * gradients.norm(dim=1)).max() for inputs, gradients in pairs])
        found[path] = float(usual.mean() / moved.mean().clamp(min=1e-30))
    return found


@dataclass(frozen=True)
class Weights:
    """Of the three parts of the loss. Published: 0.1, 1 and 1."""

    edit: float
    locality: float
    base: float


class Editable(nn.Module):
    """What is learned: differences from the model's matrices, and step sizes in each inner matrix's unit."""

    def __init__(self, shapes: Mapping[str, tuple[int, int]], units: Mapping[str, float], step: float) -> None:
        super().__init__()
        self.paths, self.inner, self.units = list(shapes), list(units), list(units.values())
        self.differences = nn.ParameterList(torch.zeros(shape) for shape in shapes.values())
        self.log_steps = nn.Parameter(torch.full((len(units),), math.log(step)))

    def changes(self) -> dict[str, Tensor]:
        """The differences by path."""
        return dict(zip(self.paths, self.differences, strict=True))

    def steps(self) -> dict[str, Tensor]:
        """The step size of every inner matrix, absolute."""
        sizes = [self.log_steps[number].exp() * size for number, size in enumerate(self.units)]
        return dict(zip(self.inner, sizes, strict=True))


class EditableTraining(Course):
    """Moves the matrices so that a step makes an edit, and undoes none of what the model knows."""

    def __init__(
        self, model: EditableModel, editable: Editable, weights: Weights, *, batch: int, lr: float, lr_steps: float
    ) -> None:
        self.model, self.editable, self.weights, self.size = model, editable, weights, batch
        self.rates = lr, lr_steps

    def groups(self) -> list[dict[str, Any]]:
        """At a learning rate of 0.1 a step of Adam moves the weights of a matrix by their root mean square."""
        lr, lr_steps = self.rates
        groups: list[dict[str, Any]] = [{"params": [self.editable.log_steps], "lr": lr_steps}]
        for path, difference in self.editable.changes().items():
            matrix = as_matrix(self.model.model.get_submodule(path)).float()
            groups.append({"params": [difference], "lr": 10 * lr * float(matrix.square().mean().sqrt())})
        return groups

    def step(self, lessons: Sequence[Lesson], rng: random.Random) -> Mapping[str, float]:
        asked, still = wanted(lessons, rng), kept(lessons, rng)
        # Attention's fused kernels have no second derivative.
        with sdpa_kernel(SDPBackend.MATH):
            stepped = self._stepped([lesson.edit for lesson in lessons], graph=True)
            losses = self._losses(stepped, asked, still)
            losses["loss"].backward()
        return {name: float(loss.detach()) for name, loss in losses.items()}

    @torch.no_grad()
    def validate(self, lessons: Sequence[Lesson]) -> Mapping[str, float]:
        return averaged(self._figures, lessons, self.size)

    def state(self) -> dict[str, Tensor]:
        return dict(self.editable.state_dict())

    def load(self, state: Mapping[str, Tensor]) -> None:
        self.editable.load_state_dict(dict(state))

    def _losses(self, stepped: Changes, asked: Asked, still: Asked) -> dict[str, Tensor]:
        """The parts and their weighted sum, with a graph that reaches the differences and the step sizes."""
        logits, batch = self._asked(asked + still, stepped)
        assert batch.gold is not None
        edit = target_loss(logits[: len(asked)], batch.gold[: len(asked)]).mean()
        moved = drift = edit.new_zeros(())
        if len(still):
            with torch.no_grad():
                original = self._chances(still, {})
            before = self._chances(still, self.editable.changes())
            after = log_chances(logits[len(asked) :], batch.gold[len(asked) :])
            moved, drift = divergence(before.detach(), after), divergence(original, before)
        weights = self.weights
        loss = weights.edit * edit + weights.locality * moved + weights.base * drift
        return {"loss": loss, "edit": edit, "moved": moved, "drift": drift}

    def _stepped(self, edits: Sequence[Edit], *, graph: bool) -> dict[str, Tensor]:
        """The differences after one step on the edits, each with its own loss, so that more edits are no smaller step.

        `graph`: the step can be differentiated.
        """
        here, batch = self.editable.changes(), encoded(self.model, edits)
        assert batch.gold is not None
        inner = [here[path] for path in self.editable.inner]
        with torch.enable_grad(), changed(self.model, here):
            loss = target_loss(self.model.forward(batch, keep=batch.keep), batch.gold).sum()
            gradients = torch.autograd.grad(loss, inner, create_graph=graph)
        moves = zip(self.editable.steps().items(), inner, gradients, strict=True)
        return {**here, **{path: one - size * gradient for (path, size), one, gradient in moves}}

    def _asked(self, asked: Asked, changes: Changes) -> tuple[Tensor, Batch]:
        batch = asked.batch(self.model)
        with changed(self.model, changes):
            return self.model.forward(batch, keep=batch.keep), batch

    def _chances(self, asked: Asked, changes: Changes) -> Tensor:
        logits, batch = self._asked(asked, changes)
        assert batch.gold is not None
        return log_chances(logits, batch.gold)

    def _figures(self, lessons: Sequence[Lesson], rng: random.Random) -> dict[str, tuple[float, int]]:
        """Means over the lessons, made together as one batch of edits, with how many each is of."""
        edits = [lesson.edit for lesson in lessons]
        asked = Asked(*map(list, zip(*(lesson.outer[0] for lesson in lessons), strict=True)))
        still, own = kept(lessons, rng), Asked([e.prompt for e in edits], [e.target for e in edits])
        stepped = self._stepped(edits, graph=False)
        losses = self._losses(stepped, asked, still)
        logits, batch = self._asked(asked + still + own, stepped)
        assert batch.gold is not None
        hits = right(logits, batch.gold).float()
        n, m = len(asked), len(still)
        found = {name: (float(loss), n) for name, loss in losses.items()}
        found |= {"success": (float(hits[n + m :].mean()), n), "generalization": (float(hits[:n].mean()), n)}
        if m:
            stays = self.model.greedy_match(still.batch(self.model)).float()
            lost = (stays * (1 - hits[n : n + m])).sum() / stays.sum().clamp(min=1)
            found["drawdown"] = (float(lost), int(stays.sum()))
        return found
