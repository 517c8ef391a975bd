"""How far a model's logits are from what they must predict: cross-entropy and margin, one figure a row.

Knows logits and gold ids, aligned as in `Batch.gold`. It does not know models or how the ids came about.
"""

from __future__ import annotations

import torch
from torch.nn import functional

IGNORED = -100
"""Gold id of a position that is not scored."""


def _scored(logits: torch.Tensor, gold: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Float32 logits (N, V) and gold ids (N,) of the N scored positions, and the row (N,) each belongs to."""
    gold = gold[:, gold.shape[1] - logits.shape[1] :]
    rows, columns = (gold != IGNORED).nonzero(as_tuple=True)
    flat = rows * gold.shape[1] + columns
    return logits.flatten(0, 1).index_select(0, flat).float(), gold[rows, columns], rows


def target_loss(logits: torch.Tensor, gold: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy (nats) over each row's scored positions, float32, (B,); 0 where none is scored.

    `logits` is (B, S, V) and `gold` (B, S) with -100 where nothing is scored. Logits of only the last
    positions (`keep`) are matched with the last columns of `gold`.
    """
    chosen, ids, rows = _scored(logits, gold)
    losses = functional.cross_entropy(chosen, ids, reduction="none")
    sums = losses.new_zeros(len(gold)).index_add(0, rows, losses)
    counts = torch.bincount(rows, minlength=len(gold)).clamp(min=1)
    return sums / counts


def margin(logits: torch.Tensor, gold: torch.Tensor) -> torch.Tensor:
    """Smallest lead of the gold logit over the best other one at a row's scored positions, float32, (B,).

    Positive exactly when greedy decoding yields the gold ids; infinite where nothing is scored. Alignment as
    in `target_loss`.
    """
    chosen, ids, rows = _scored(logits, gold)
    picked = ids[:, None]
    leads = chosen.gather(1, picked)[:, 0] - chosen.scatter(1, picked, -torch.inf).amax(1)
    start = leads.new_full((len(gold),), torch.inf)
    return start.scatter_reduce(0, rows, leads, "amin")
