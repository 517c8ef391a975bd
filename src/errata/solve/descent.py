"""Gradient descent on a model's own numbers until it does what edits want, and how far that went.

The loop that the fine-tuning methods share. Knows losses, stopping and what holds a descent back; which numbers move
and what becomes of the difference are the caller's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypedDict, Unpack

import torch
from torch import Tensor

from errata.edits import Edit
from errata.models import Batch, EditableModel
from errata.solve.ball import Ball, Path
from errata.solve.goals import Aims

Schedule = Literal["constant", "cosine"]


@dataclass(frozen=True)
class Descent:
    """How far a descent went: steps taken, and for every edit its last loss and whether that will do.

    Attributes:
        path: where it went in its ball, if it had one: it ended at the last state inside.
    """

    steps: int
    losses: list[float]
    reached: list[bool]
    path: Path | None = None

    def figures(self, edits: Sequence[Edit]) -> dict[str, dict[str, Any]]:
        """What was measured, by edit id, with the reason where an edit did not get there.

        An example may stop short of its aim: that its loss fell is for the Editor to see.
        """
        table: dict[str, dict[str, Any]] = {}
        for edit, loss, reached in zip(edits, self.losses, self.reached, strict=True):
            figures: dict[str, Any] = {"steps": self.steps, "loss": loss}
            if self.path is not None:
                figures |= {"general_loss": self.path.loss, "general_loss_before": self.path.ball.start}
            if problem := self._problem(edit, loss, reached):
                figures["problem"] = problem
            table[str(edit.id)] = figures
        return table

    def _problem(self, edit: Edit, loss: float, reached: bool) -> str | None:
        if loss != loss:
            return f"the loss became NaN after {self.steps} steps; lower the learning rate"
        if self.path is not None and (problem := self.path.problem()):
            return problem
        if edit.goal is None and not reached:
            return f"the target was not reached after {self.steps} steps (loss {loss:.2f})"
        return None


def batches(model: EditableModel, edits: Sequence[Edit], size: int) -> list[Batch]:
    """The edits' prompts and targets in batches of at most `size`."""
    chunks = [edits[start : start + size] for start in range(0, len(edits), size)]
    return [model.encode([e.prompt for e in chunk], [e.target for e in chunk]) for chunk in chunks]


class Work(Protocol):
    """Some edits, and how to measure them. `Aims` runs the model; others may know a shorter way."""

    @property
    def edits(self) -> tuple[Edit, ...]: ...

    def judge(self, model: EditableModel) -> tuple[Tensor, Tensor]:
        """As `Aims.judge`."""
        ...

    def enough(self, answered: float) -> Tensor:
        """As `Aims.enough`."""
        ...


class Held(TypedDict, total=False):
    """What holds a descent back: `penalties` added to the loss; `project`, called after each step to bring the weights
    back into what the caller allows; and a `ball`, at whose last state inside the descent ends."""

    penalties: Sequence[Callable[[], Tensor]]
    project: Callable[[], None]
    ball: Ball | None


def descend(
    model: EditableModel,
    parameters: Mapping[Tensor, float],
    work: Sequence[Work],
    *,
    steps: int,
    enough: float,
    schedule: Schedule = "constant",
    **held: Unpack[Held],
) -> Descent:
    """Adam over all edits at once, until the loss of each is low enough and each answer greedy.

    `parameters` are those that move, each with its learning rate: whatever the edits' losses depend on.
    """
    optimizer, rates = _adam(parameters), _rates(schedule, steps)
    ball = held.get("ball")
    path = Path(ball, parameters, steps, _about(work, parameters, steps, enough, schedule)) if ball else None
    if path is not None and path.walked:
        return _ended(model, work, path)
    least = torch.cat([part.enough(enough) for part in work])
    taken = 0
    while True:
        losses, leads = _gradients(model, work, backward=taken < steps)
        if taken == steps or bool(((losses < least) & (leads > 0)).all()) or not bool(torch.isfinite(losses).all()):
            break
        for penalty in held.get("penalties", ()):
            penalty().backward()
        _step(optimizer, held, rates(taken))
        taken += 1
        if path is not None:
            path.step(taken)
    if path is None:
        return Descent(taken, losses.tolist(), (leads > 0).tolist())
    path.look(taken)
    return _ended(model, work, path)


def rehearse(
    model: EditableModel,
    parameters: Mapping[Tensor, float],
    work: Sequence[Aims],
    *,
    passes: int,
    seed: int,
    **held: Unpack[Held],
) -> int:
    """`passes` times through all batches, a step of Adam for each, shuffled anew every time. The number of steps."""
    optimizer = _adam(parameters)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(passes):
        for place in torch.randperm(len(work), generator=generator).tolist():
            _gradients(model, [work[place]], backward=True)
            _step(optimizer, held)
    return passes * len(work)


def measure(model: EditableModel, work: Sequence[Work], steps: int) -> Descent:
    """How far the model is now, after `steps` steps."""
    losses, leads = _gradients(model, work, backward=False)
    return Descent(steps, losses.tolist(), (leads > 0).tolist())


def _ended(model: EditableModel, work: Sequence[Work], path: Path) -> Descent:
    """The descent that ends where its path was last inside its ball, with the model brought there."""
    path.back()
    losses, leads = _gradients(model, work, backward=False)
    return Descent(path.taken, losses.tolist(), (leads > 0).tolist(), path)


def _about(
    work: Sequence[Work], parameters: Mapping[Tensor, float], steps: int, enough: float, schedule: Schedule
) -> str:
    """What a path depends on besides where it starts and what else holds it."""
    edits = [edit.to_json() for part in work for edit in part.edits]
    return repr((edits, [len(part.edits) for part in work], list(parameters.values()), steps, enough, schedule))


def _adam(parameters: Mapping[Tensor, float]) -> torch.optim.Adam:
    for parameter in parameters:
        parameter.requires_grad_(True)
    groups = [{"params": [parameter], "lr": lr, "peak": lr} for parameter, lr in parameters.items()]
    return torch.optim.Adam(groups)


def _rates(schedule: Schedule, steps: int) -> Callable[[int], float]:
    """What the learning rates are multiplied by at each step."""
    if schedule == "constant":
        return lambda _: 1.0
    return lambda taken: (1 + math.cos(math.pi * taken / max(1, steps))) / 2


def _step(optimizer: torch.optim.Adam, held: Held, rate: float = 1.0) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * rate
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    if "project" in held:
        with torch.no_grad():
            held["project"]()


def _gradients(model: EditableModel, work: Sequence[Work], *, backward: bool) -> tuple[Tensor, Tensor]:
    """Losses and leads of every edit (B,), with the mean loss's gradients accumulated."""
    total = sum(len(part.edits) for part in work)
    losses, leads = [], []
    for part in work:
        with torch.set_grad_enabled(backward):
            loss, lead = part.judge(model)
            if backward:
                (loss.sum() / total).backward()
        losses.append(loss.detach())
        leads.append(lead)
    return torch.cat(losses), torch.cat(leads)
