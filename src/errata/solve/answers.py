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
    """Values of one row.

    Attributes:
        values: (n, d), one a token of the target.
        said: the id that the unedited model writes in place of each of them.
        probability: the least of a token, with its value.
        steps: that were taken.
    """

    values: Tensor
    said: tuple[int, ...]
    probability: float
    steps: int

    @property
    def figures(self) -> dict[str, Any]:
        """Return what was measured, with a "problem" where the states are no numbers."""
        told: dict[str, Any] = {"probability": self.probability, "steps": self.steps}
        if not bool(self.values.isfinite().all()):
            told["problem"] = f"the values became NaN or infinite after {self.steps} steps; choose another layer"
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
        odds, said, taken = _ascend(resume, prefix, hidden, (rows, columns), gold[rows, columns], wanted, steps)
    chances = odds.sigmoid()
    return [
        Solved(
            hidden[row, columns[rows == row]].float().cpu(), tuple(said[rows == row].tolist()),
            float(chances[rows == row].min()), taken,
        )
        for row in range(len(batch))
    ]


def _ascend(
    resume: Resume, prefix: Prefix, hidden: Tensor, places: tuple[Tensor, Tensor], ids: Tensor, wanted: float,
    steps: int,
) -> tuple[Tensor, Tensor, int]:  # fmt: skip
    """Change `hidden` (B, T, d) in place at `places` until the log-odds of `ids` (n,) there are as `wanted`.

    A step that makes a token less likely is taken back, and the next one there is half as long.

    Returns the log-odds (n,), the likeliest ids (n,) before the first step, and the number of steps.
    """
    rows, columns = places
    said = ids
    best = torch.full_like(ids, -torch.inf, dtype=torch.float32)
    values, slopes = hidden[rows, columns].clone(), torch.zeros_like(hidden[rows, columns])
    reach = torch.ones_like(best)
    for step in range(steps + 1):
        chosen = torch.unique(rows[best < wanted])
        if not len(chosen):
            return best, said, step - 1
        here = torch.isin(rows, chosen)
        at = (torch.searchsorted(chosen, rows[here]), columns[here])
        states = hidden[chosen].clone().requires_grad_()
        logits = _of_places(resume(states, chosen), *at)
        said = logits.argmax(-1) if step == 0 else said
        odds = _log_odds(logits, ids[here])
        (slope,) = torch.autograd.grad(odds.sum(), states)
        better = torch.zeros_like(best, dtype=torch.bool)
        better[here] = odds.detach() > best[here]
        now = torch.zeros_like(best).index_put((here.nonzero()[:, 0],), odds.detach())
        slopes[here] = torch.where(better[here, None], slope[at], slopes[here])
        values = torch.where(better[:, None], hidden[rows, columns], values)
        reach = torch.where(better, (2 * reach).clamp(max=1), torch.where(here, reach / 2, reach))
        best = torch.where(better, now, best)
        behind = best < wanted
        moved = _newton(slopes, values, wanted + SURPLUS - best) * reach[:, None]
        hidden[rows, columns] = torch.where(behind[:, None] & torch.tensor(step < steps), values + moved, values)
    return best, said, steps


def _of_places(logits: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """(n, V): the rows and columns of logits (B, T, V), or of those of the last columns alone."""
    return logits[rows, columns - (columns.max() + 1 - logits.shape[1]).clamp(min=0)].float()


def _log_odds(logits: Tensor, ids: Tensor) -> Tensor:
    """(n,): log p / (1 - p) of ids (n,) in logits (n, V)."""
    own = logits.gather(1, ids[:, None])[:, 0]
    return own - logits.scatter(1, ids[:, None], -torch.inf).logsumexp(1)


def _newton(slope: Tensor, states: Tensor, lacking: Tensor) -> Tensor:
    """(n, d): along the slope as far as a linear function would have to go, but not far beyond the state's own size."""
    slope = slope.float()
    size = slope.norm(dim=1).clamp_min(1e-12)
    length = torch.minimum(lacking / size, LONGEST_STEP * states.float().norm(dim=1))
    return (slope / size[:, None] * length[:, None]).to(states.dtype)
