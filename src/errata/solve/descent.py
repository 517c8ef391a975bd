"""Gradient descent on a model's own weights until it gives the targets, and the difference that leaves.

The loop that the fine-tuning methods share. Knows batches, losses and stopping; which weights move, under which
constraint and what becomes of the difference are the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack

import torch
from torch import Tensor, nn

from errata.edits import Edit
from errata.models import Batch, EditableModel
from errata.models.losses import margin, target_loss


@dataclass(frozen=True)
class Descent:
    """How far a descent went: steps taken, and for every edit its last loss and whether the target was reached."""

    steps: int
    losses: list[float]
    reached: list[bool]

    def figures(self, edits: Sequence[Edit]) -> dict[str, dict[str, Any]]:
        """What was measured, by edit id, with the reason where an edit did not get there."""
        table: dict[str, dict[str, Any]] = {}
        for edit, loss, reached in zip(edits, self.losses, self.reached, strict=True):
            table[str(edit.id)] = {"steps": self.steps, "loss": loss}
            if loss != loss:
                table[str(edit.id)]["problem"] = (
                    f"the loss became NaN after {self.steps} steps; lower the learning rate"
                )
            elif not reached:
                table[str(edit.id)]["problem"] = (
                    f"the target was not reached after {self.steps} steps (loss {loss:.2f})"
                )
        return table


def batches(model: EditableModel, edits: Sequence[Edit], size: int) -> list[Batch]:
    """The edits' prompts and targets in batches of at most `size`."""
    chunks = [edits[start : start + size] for start in range(0, len(edits), size)]
    return [model.encode([e.prompt for e in chunk], [e.target for e in chunk]) for chunk in chunks]


class Held(TypedDict, total=False):
    """What holds a descent back: a `penalty` added to the loss, and `project`, called after each step to bring the
    weights back into what the caller allows."""

    penalty: Callable[[], Tensor]
    project: Callable[[], None]


def descend(
    model: EditableModel,
    parameters: Mapping[nn.Parameter, float],
    work: Sequence[Batch],
    *,
    steps: int,
    enough: float,
    **held: Unpack[Held],
) -> Descent:
    """Adam over all batches at once, until every edit's loss is below `enough` and its answer greedy.

    `parameters` are those that move, each with its learning rate.
    """
    optimizer = _adam(parameters)
    taken = 0
    while True:
        losses, leads = _gradients(model, work, backward=taken < steps)
        done = (losses < enough) & (leads > 0)
        if taken == steps or bool(done.all()) or not bool(torch.isfinite(losses).all()):
            return Descent(taken, losses.tolist(), (leads > 0).tolist())
        if "penalty" in held:
            held["penalty"]().backward()
        _step(optimizer, held)
        taken += 1


def rehearse(
    model: EditableModel,
    parameters: Mapping[nn.Parameter, float],
    work: Sequence[Batch],
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


def measure(model: EditableModel, work: Sequence[Batch], steps: int) -> Descent:
    """How far the model is now, after `steps` steps."""
    losses, leads = _gradients(model, work, backward=False)
    return Descent(steps, losses.tolist(), (leads > 0).tolist())


def _adam(parameters: Mapping[nn.Parameter, float]) -> torch.optim.Adam:
    for parameter in parameters:
        parameter.requires_grad_(True)
    return torch.optim.Adam([{"params": [parameter], "lr": lr} for parameter, lr in parameters.items()])


def _step(optimizer: torch.optim.Adam, held: Held) -> None:
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    if "project" in held:
        with torch.no_grad():
            held["project"]()


def _gradients(model: EditableModel, work: Sequence[Batch], *, backward: bool) -> tuple[Tensor, Tensor]:
    """Losses and margins of every edit (B,), with the mean loss's gradients accumulated."""
    total = sum(len(batch) for batch in work)
    losses, leads = [], []
    for batch in work:
        assert batch.gold is not None
        with torch.set_grad_enabled(backward):
            logits = model.forward(batch, keep=batch.keep)
            loss = target_loss(logits, batch.gold)
            if backward:
                (loss.sum() / total).backward()
        losses.append(loss.detach())
        leads.append(margin(logits.detach(), batch.gold))
    return torch.cat(losses), torch.cat(leads)
