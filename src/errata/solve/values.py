"""Training the values of a codebook: states that, put in place of a block's output at tokens, lead to the target.

All values are trained together on the blocks above the site alone; no weight has a gradient, and a value that leads to
its targets stops early. Knows batches and blocks; how keys are kept is no concern here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from errata.models import Batch, EditableModel
from errata.models.losses import margin, target_loss
from errata.models.prefix import Prefix, Resume
from errata.statistics.asking import begins


@dataclass(frozen=True)
class Task:
    """Rows to be answered by shared values, and where the values go.

    Attributes:
        prefix: B rows with their targets, computed up to the site with everything earlier in force.
        group: (B,), which value a row uses: 0 to G - 1; or (B, K), which ones at its query and the tokens after it,
            -1 for none. In a decoder the first place is that of its first token.
        start: (G, d), the values to start from.
        scale: (G, 1), the size of a typical coordinate there: steps are taken in this unit, so that one learning rate
            suits models whose states are large and models whose states are small.
    """

    prefix: Prefix
    group: Tensor
    start: Tensor
    scale: Tensor

    @classmethod
    def at(cls, model: EditableModel, batch: Batch, layer: int, group: Tensor, start: Tensor, scale: Tensor) -> Task:
        """Values at the queries of a batch at block `layer`. What stands before them stays as it is: a causal model
        is run from their column on."""
        place = 0
        if model.task == "causal":
            batch, place = batch.aligned(batch.query, model.pad_id)
        device = model.device
        return cls(model.prefix(batch, layer, place), group.to(device), start.to(device), scale.to(device))


@dataclass(frozen=True)
class Trained:
    """Values (G, d), and for every row: steps taken, last loss (nats a token), and the lead of the target's logits."""

    values: Tensor
    steps: list[int]
    losses: list[float]
    leads: list[float]

    def figures(self, row: int) -> dict[str, Any]:
        """What was measured of a row, with a "problem" where its target was not reached."""
        steps, loss, lead = self.steps[row], self.losses[row], self.leads[row]
        figures: dict[str, Any] = {"steps": steps, "loss": loss, "lead": lead}
        if loss != loss:
            figures["problem"] = f"the loss became NaN after {steps} steps; lower the learning rate"
        elif not lead > 0:
            figures["problem"] = (
                f"the target was not reached after {steps} steps (loss {loss:.2f}): states of one block may not carry "
                "words that the model never says; try another layer, or a method that changes weights"
            )
        return figures


def train_values(task: Task, *, lr: float, steps: int, lead: float) -> Trained:
    """Adam on every value until each of its rows has the target as greedy answer by a margin of `lead` logits.

    Rows of different groups do not influence one another: the result is what training each alone gives, up to rounding.
    """
    rows = len(task.prefix.batch)
    moved = torch.zeros_like(task.start, requires_grad=True)
    final = task.start.clone()
    optimizer = torch.optim.Adam([moved], lr=lr)
    taken, losses = torch.zeros(rows, dtype=torch.long), torch.full((rows,), float("nan"))
    leads = torch.full((rows,), float("-inf"))
    active = torch.arange(rows, device=task.start.device)
    with task.prefix.suffix() as resume:
        for step in range(steps + 1):
            values = task.start + task.scale * moved
            logits, gold = _answers(resume, task, values, active)
            loss, ahead = target_loss(logits, gold), margin(logits.detach(), gold)
            here = active.cpu()
            losses[here], leads[here], taken[here] = loss.detach().cpu(), ahead.cpu(), step
            groups = _groups(task)[active]
            used = groups[groups >= 0]
            final[used] = values.detach()[used]
            behind = (ahead < lead) & loss.detach().isfinite()
            wanting = groups[behind]
            open_groups = torch.unique(wanting[wanting >= 0])
            if step == steps or not len(open_groups):
                break
            optimizer.zero_grad(set_to_none=True)
            loss.sum().backward()
            optimizer.step()
            active = active[torch.isin(groups, open_groups).any(1)]
    return Trained(final, taken.tolist(), losses.tolist(), leads.tolist())


def _answers(resume: Resume, task: Task, values: Tensor, active: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and gold ids of the active rows with the values in their places."""
    batch, hidden = task.prefix.batch, task.prefix.hidden
    whole = len(active) == len(batch)
    if not whole:
        batch, hidden = batch.rows(active), hidden[active]
    hidden = hidden.clone()
    groups = _groups(task)[active]
    rows, places = (groups >= 0).nonzero(as_tuple=True)
    first = begins(task.prefix.model, batch, task.prefix.layer) - task.prefix.start
    hidden[rows, first[rows] + places] = values[groups[rows, places]].to(hidden.dtype)
    logits = resume(hidden, None if whole else active, keep=batch.keep)
    assert batch.gold is not None
    return logits, batch.gold


def _groups(task: Task) -> Tensor:
    """(B, K)"""
    return task.group if task.group.dim() == 2 else task.group[:, None]


def typical(state: Tensor) -> Tensor:
    """(1,): the size of a typical coordinate of a state (d,): robust, since a few coordinates are often huge."""
    return (state.abs().median() / 0.6745).clamp(min=1e-6)[None]


def initial(state: Tensor, how: str, seed: int) -> Tensor:
    """Where the value of a key at `state` (d,) starts: "warm", there; "cold", uniform in [0, 1) as GRACE has it."""
    if how == "warm":
        return state.clone()
    # From the seed alone: an edit's value must not depend on what else is in the call.
    return torch.rand(len(state), generator=torch.Generator().manual_seed(seed)).to(state)
