"""States that make a model say an answer token by token: the value of each token is found by itself.

Above the block that is replaced nothing looks back at other tokens when that block is the last one, so that every value
is a problem of its own: ascend the gradient of its token's log-odds by Newton steps until the token is as likely as is
asked. Knows batches and blocks; how values are kept is no concern here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from errata.models import Batch, EditableModel
from errata.models.losses import IGNORED
from errata.models.prefix import Prefix, Resume

SURPLUS = 0.25  # nats that a step aims above what is asked
LONGEST_STEP = 2.0  # in norms of the state


@dataclass(frozen=True)
class Solved:
    """Values of one row: (n, d), one a token of the target; the least probability of a token, and steps taken."""

    values: Tensor
    probability: float
    steps: int

    @property
    def figures(self) -> dict[str, Any]:
        """Return what was measured, with a "problem" where the target was not reached."""
        told: dict[str, Any] = {"probability": self.probability, "steps": self.steps}
        if not self.probability > 0.5:
            told["problem"] = (
                f"a token of the target reached a probability of {self.probability:.2g} only; "
                "raise --steps, or choose another layer"
            )
        return told


def solve_answers(model: EditableModel, batch: Batch, layer: int, *, confidence: float, steps: int) -> list[Solved]:
    """Find the values of every row's target at a block, by default the last.

    Args:
        batch: B prompts with their targets, of a causal model.
        layer: the block whose output is replaced.
        confidence: the probability that every token of the targets shall have.
        steps: Newton steps at most.
    """
    batch, place = batch.aligned(batch.query, model.pad_id)
    prefix = model.prefix(batch, layer, place)
    hidden = prefix.hidden.clone()
    gold = prefix.batch.gold
    assert gold is not None
    gold = gold[:, gold.shape[1] - hidden.shape[1] :]
    rows, columns = (gold != IGNORED).nonzero(as_tuple=True)
    wanted = math.log(confidence / (1 - confidence))
    with prefix.suffix() as resume:
        odds, taken = _ascend(resume, prefix, hidden, (rows, columns), gold[rows, columns], wanted, steps)
    chances = odds.sigmoid()
    return [
        Solved(hidden[row, columns[rows == row]].float().cpu(), float(chances[rows == row].min()), taken)
        for row in range(len(batch))
    ]


def _ascend(
    resume: Resume, prefix: Prefix, hidden: Tensor, places: tuple[Tensor, Tensor], ids: Tensor, wanted: float, steps: int
) -> tuple[Tensor, int]:
    """Change `hidden` (B, T, d) in place at `places` until the log-odds of `ids` (n,) there are as `wanted`.

    Returns the log-odds (n,) and the number of steps.
    """
    rows, columns = places
    best = torch.full_like(ids, -torch.inf, dtype=torch.float32)
    for step in range(steps + 1):
        open_rows = torch.unique(rows[best < wanted])
        if not len(open_rows):
            return best, step
        here = torch.isin(rows, open_rows)
        states = hidden[open_rows].clone().requires_grad_()
        logits = resume(states, open_rows)
        odds = _log_odds(logits, torch.searchsorted(open_rows, rows[here]), columns[here], ids[here])
        best[here] = odds.detach()
        if step == steps or bool((best >= wanted).all()):
            return best, step
        (slope,) = torch.autograd.grad(odds.sum(), states)
        behind = here & (best < wanted)
        at = (torch.searchsorted(open_rows, rows[behind]), columns[behind])
        hidden[rows[behind], columns[behind]] += _newton(
            slope[at], hidden[rows[behind], columns[behind]], wanted + SURPLUS - best[behind]
        )
    return best, steps


def _log_odds(logits: Tensor, rows: Tensor, columns: Tensor, ids: Tensor) -> Tensor:
    """(n,): log p / (1 - p) of ids (n,) at the rows and columns of logits (B, T, V)."""
    logits = logits[rows, columns - (columns.max() + 1 - logits.shape[1]).clamp(min=0)].float()
    own = logits.gather(1, ids[:, None])[:, 0]
    return own - logits.scatter(1, ids[:, None], -torch.inf).logsumexp(1)


def _newton(slope: Tensor, states: Tensor, lacking: Tensor) -> Tensor:
    """(n, d): along the slope as far as a linear function would have to go, but not far beyond the state's own size."""
    slope = slope.float()
    size = slope.norm(dim=1).clamp_min(1e-12)
    length = torch.minimum(lacking / size, LONGEST_STEP * states.float().norm(dim=1))
    return (slope / size[:, None] * length[:, None]).to(states.dtype)
