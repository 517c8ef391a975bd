"""From logits to tokens: every row by its own settings and its own random numbers.

Knows logits. A row's choice depends on its own logits, settings and seed alone, so it is the same in any batch.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from errata.serve.engine.request import Sampling


class Chooser(Protocol):
    """What a choice needs to know of a row: its settings, its random numbers, how often each token was chosen."""

    sampling: Sampling
    random: random.Random
    counts: Counter[int]


def choose(logits: Tensor, rows: Sequence[Chooser]) -> list[int]:
    """The next token of every row, for logits (B, V) float32."""
    penalised = [place for place, row in enumerate(rows) if row.counts and _penalises(row.sampling)]
    if penalised:
        logits = logits.clone()
        for place in penalised:
            _penalise(logits[place], rows[place].sampling, rows[place].counts)
    chosen = logits.argmax(-1).tolist()
    drawn = [place for place, row in enumerate(rows) if row.sampling.temperature > 0]
    if drawn:
        tokens = _draw(logits[drawn], [rows[place] for place in drawn])
        for place, token in zip(drawn, tokens, strict=True):
            chosen[place] = token
    return chosen


def logprobs(logits: Tensor, token: int, top: int) -> tuple[float, dict[int, float]]:
    """Natural log-probability of a token under logits (V,), and the `top` likeliest with theirs, best first."""
    values = torch.log_softmax(logits, -1)
    best = values.topk(min(top, len(values)))
    return float(values[token]), dict(zip(best.indices.tolist(), best.values.tolist(), strict=True))


def _penalises(sampling: Sampling) -> bool:
    return sampling.presence_penalty != 0 or sampling.frequency_penalty != 0


def _penalise(logits: Tensor, sampling: Sampling, counts: Mapping[int, int]) -> None:
    tokens = torch.tensor(list(counts), device=logits.device)
    times = torch.tensor(list(counts.values()), device=logits.device, dtype=logits.dtype)
    logits[tokens] -= sampling.presence_penalty + sampling.frequency_penalty * times


def _draw(logits: Tensor, rows: Sequence[Chooser]) -> list[int]:
    """One uniform number a row picks from the cumulated probabilities."""
    temperatures = [row.sampling.temperature for row in rows]
    # Best first at 0, in float64: no temperature makes this overflow.
    scores = logits.double() - logits.double().amax(-1, keepdim=True)
    weights = torch.exp(scores / torch.tensor(temperatures, dtype=torch.float64, device=logits.device)[:, None])
    for place, row in enumerate(rows):
        if row.sampling.top_p < 1:
            weights[place] = _nucleus(weights[place], row.sampling.top_p)
    cumulated = weights.cumsum(-1)
    numbers = torch.tensor([row.random.random() for row in rows], dtype=torch.float64, device=logits.device)
    picked = torch.searchsorted(cumulated, (numbers * cumulated[:, -1])[:, None], right=True)
    return picked[:, 0].clamp(max=logits.shape[1] - 1).tolist()


def _nucleus(weights: Tensor, top_p: float) -> Tensor:
    """Weights (V,) with 0 for all but the largest whose share is at least `top_p`; one is always left."""
    ordered, index = weights.sort(descending=True)
    before = ordered.cumsum(0) - ordered
    return weights.index_fill(0, index[1:][before[1:] >= top_p * ordered.sum()], 0.0)
