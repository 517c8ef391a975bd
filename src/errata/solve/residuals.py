"""Training a matrix beside one MLP's down-projection, by gradient descent on what it adds at the tokens of a target.

The loop that `memoir` and `wise` share. What the down-projection reads does not depend on the matrix, so the blocks
below are run once, and all steps together are known by what they asked of each token's output. Knows edits, tokens and
the matrix; which entries a token reads and what keeps the matrix quiet elsewhere are the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from errata.edits import Edit
from errata.models import Batch, EditableModel
from errata.models.hooks import added, capture
from errata.models.losses import IGNORED, margin, target_loss
from errata.prompts import prefixed
from errata.solve.descent import Descent
from errata.statistics.background import looked_at

Elsewhere = Callable[[Tensor], Tensor]
"""What is added for inputs (N, d_in) that are not trained: (N, d_out)."""


class Asked:
    """One edit's prompt, after each of its contexts, from the block on; and the n tokens that are trained.

    Attributes:
        edit: the edit.
        inputs: (n, d_in) float32, what the down-projection reads at them, context by context.
        number: (n,), which token of the target each predicts, from 0.
        tokens: how many that are.
    """

    def __init__(
        self, model: EditableModel, edit: Edit, prefixes: Sequence[str], layer: int, elsewhere: Elsewhere
    ) -> None:
        """Call it within `EditableModel.preserved()`. `elsewhere` is what stays beside the down-projection."""
        self.model, self.edit, self.path = model, edit, model.arch.matrix(layer, "mlp_down")
        self.batch = model.encode([prefixed(prefix, edit.prompt) for prefix in prefixes], [edit.target] * len(prefixes))
        below = layer - 1
        self.prefix = model.prefix(self.batch, below) if below >= 0 else None
        with torch.no_grad(), capture(model.model, [self.path], what="input") as seen:
            self._run()
        read = seen[self.path][-1]
        self.rows, self.columns = _scored(model, self.batch)
        self.number = torch.cat([torch.arange(count) for count in self.rows.bincount().tolist()])
        self.tokens = int(self.number.max()) + 1
        states = read.reshape(len(self.batch), -1, read.shape[-1]).float()
        self.inputs = states[self.rows, self.columns]
        self.elsewhere = elsewhere(states.flatten(0, 1)).view(*states.shape[:2], -1)

    def judge(self, added_here: Tensor) -> tuple[Tensor, Tensor]:
        """Loss, nats a token and mean over contexts, and least lead of the target's tokens, if this (n, d_out) is added
        at the trained tokens."""

        def part(inputs: Tensor) -> Tensor:
            beside = self.elsewhere.clone()
            beside[self.rows, self.columns] = added_here
            return beside.view(*inputs.shape[:-1], -1)

        with added(self.model.model, {self.path: part}):
            logits = self._run()
        assert self.batch.gold is not None
        return target_loss(logits, self.batch.gold).mean(), margin(logits.detach(), self.batch.gold).min()

    def _run(self) -> Tensor:
        if self.prefix is None:
            return self.model.forward(self.batch, keep=self.batch.keep)
        return self.prefix.resume(self.prefix.hidden, keep=self.batch.keep)


def _scored(model: EditableModel, batch: Batch) -> tuple[Tensor, Tensor]:
    """Rows and columns of the states that say what is scored."""
    assert batch.gold is not None
    if model.task == "classification":
        return torch.arange(len(batch), device=batch.query.device), batch.query
    rows, columns = (batch.gold != IGNORED).nonzero(as_tuple=True)
    return rows, columns


@dataclass
class Lesson:
    """One edit in training.

    Attributes:
        asked: its tokens.
        read: (n + m, d_in), what the matrix reads: at the edit's n tokens, then at m others that it must leave alone.
        written: (n + m, d_out), all that was asked of the outputs so far; what it adds to the matrix is written^T read.
        loss, lead: as last judged.
    """

    asked: Asked
    read: Tensor
    written: Tensor
    loss: float = float("nan")
    lead: float = float("-inf")
    steps: int = 0

    @classmethod
    def of(cls, asked: Asked, read: Tensor, rows: int) -> Lesson:
        return cls(asked, read, read.new_zeros(len(read), rows))


Penalty = Callable[[Tensor, Tensor], Tensor]
"""Of what the matrix writes, (n, d_out), at an edit's tokens, and (m, d_out) at the others: a loss ()."""


@dataclass
class Tutor:
    """Gradient descent on a matrix.

    Attributes:
        matrix: (d_out, d_in) float32, as it is now.
        rate: of a step, for a gradient of norm 1 or less, in the matrix's own unit.
        unit: of an entry: typical output over typical input.
        enough: an edit with a loss below this, whose target is greedy, needs no more; nats a token.
        steps: for one edit, at most, in one round.
        rounds: through the edits of a call, as long as one of them disturbs another.
        entries: (d_out, d_in) bool, those that may move; None: all.
        penalty: added to an edit's loss; it is done when this is below `ease`.
    """

    matrix: Tensor
    rate: float
    unit: float
    enough: float
    steps: int
    rounds: int
    entries: Tensor | None = None
    penalty: Penalty | None = None
    ease: float = 0.0

    def teach(self, lessons: Sequence[Lesson]) -> Descent:
        """One edit after another, as a stream would; those that later ones disturbed again."""
        for _ in range(self.rounds):
            for lesson in lessons:
                self._descend(lesson)
            if len(lessons) == 1 or all(self._right(*self._judged(lesson)) for lesson in lessons):
                break
        return Descent(
            max(lesson.steps for lesson in lessons), [lesson.loss for lesson in lessons],
            [lesson.lead > 0 for lesson in lessons],
        )  # fmt: skip

    def _descend(self, lesson: Lesson) -> None:
        for taken in range(self.steps + 1):
            with torch.enable_grad():
                said = (lesson.read @ self.matrix.T).requires_grad_()
                loss, strain = self._losses(lesson, said)
                if self._right(lesson, strain) or taken == self.steps or not bool(loss.isfinite()):
                    return
                (asked,) = torch.autograd.grad(loss + strain, said)
            self._step(lesson, asked)
            lesson.steps += 1

    @torch.no_grad()
    def _judged(self, lesson: Lesson) -> tuple[Lesson, Tensor]:
        _, strain = self._losses(lesson, lesson.read @ self.matrix.T)
        return lesson, strain

    def _losses(self, lesson: Lesson, said: Tensor) -> tuple[Tensor, Tensor]:
        own = len(lesson.asked.inputs)
        loss, lead = lesson.asked.judge(said[:own])
        lesson.loss, lesson.lead = float(loss.detach()), float(lead)
        strain = said.new_zeros(()) if self.penalty is None else self.penalty(said[:own], said[own:])
        return loss, strain

    def _right(self, lesson: Lesson, strain: Tensor) -> bool:
        return lesson.lead > 0 and lesson.loss < self.enough and float(strain.detach()) <= self.ease

    @torch.no_grad()
    def _step(self, lesson: Lesson, asked: Tensor) -> None:
        gradient = asked.T @ lesson.read
        if self.entries is not None:
            gradient *= self.entries
        # In the matrix's unit the gradient is `unit` times as large, and a step as large as the unit.
        norm = self.unit * float(gradient.norm())
        size = self.rate * self.unit**2 / max(1.0, norm)
        self.matrix -= size * gradient
        lesson.written -= size * asked


@torch.no_grad()
def read_inputs(model: EditableModel, prompts: Sequence[str], layer: int) -> Tensor:
    """(m, d_in) float32: what the block's down-projection reads at the tokens of prompts."""
    batch, path = model.encode(prompts), model.arch.matrix(layer, "mlp_down")
    with capture(model.model, [path], what="input") as seen:
        model.prefix(batch, layer)
    return seen[path][-1].flatten(0, -2)[looked_at(model, batch, layer).flatten()].float()
