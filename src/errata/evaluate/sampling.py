"""Long sampled continuations of prompts: seeded, row by row, so that batches do not change what is written.

Knows causal models and their key-value cache; what the texts are worth is the metrics' business.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from errata.models import EditableModel
from errata.models.encoding import end_id

ROWS = 16  # continued together


@torch.no_grad()
def continuations(
    model: EditableModel, prompts: Sequence[str], *, tokens: int = 100, top_k: int = 5, seed: int = 0
) -> list[str]:
    """What a causal model writes after each prompt, each token drawn from the `top_k` likeliest (ROME draws from 5).

    The end is never drawn: how soon a model stops must not colour a figure about how it writes. A continuation is
    shorter where the model's context is full. The same seed gives row i the same chances whatever the model, so that
    one before and one after an edit differ by the edit.
    """
    written: list[str] = []
    with model.evaluating():
        for start in range(0, len(prompts), ROWS):
            part = prompts[start : start + ROWS]
            chances = torch.stack([_chances(seed, start + row, tokens) for row in range(len(part))])
            written += _continued(model, part, chances.to(model.device), top_k)
    return written


def _chances(seed: int, row: int, tokens: int) -> Tensor:
    """(tokens,) numbers in [0, 1) that belong to one row alone."""
    return torch.rand(tokens, generator=torch.Generator().manual_seed(seed * 1_000_003 + row))


def _continued(model: EditableModel, prompts: Sequence[str], chances: Tensor, top_k: int) -> list[str]:
    batch = model.encode(prompts, padding_side="left")
    room = chances.shape[1] if model.context is None else model.context - batch.input_ids.shape[1] + 1
    inputs, drawn = model.inputs(batch), []
    for chance in chances.T[: max(room, 0)]:
        out = model.run(inputs, cached=True, keep=1)
        drawn.append(_draw(out.logits[:, -1].float(), chance, top_k, end_id(model)))
        inputs = _next(inputs, drawn[-1], out.get("past_key_values"))
    rows = torch.stack(drawn, 1).tolist() if drawn else [[] for _ in prompts]
    return [str(model.tokenizer.decode(row, skip_special_tokens=True)).strip() for row in rows]


def _draw(logits: Tensor, chance: Tensor, top_k: int, end: int) -> Tensor:
    """(B,) tokens: of the `top_k` likeliest the one in whose stretch of probability the chance (B,) falls."""
    logits[:, end] = -torch.inf
    best = logits.topk(top_k)
    reached = best.values.softmax(-1).cumsum(-1) <= chance[:, None]
    return best.indices.gather(1, reached.sum(1, keepdim=True).clamp(max=top_k - 1))[:, 0]


def _next(inputs: dict[str, Any], token: Tensor, cache: Any) -> dict[str, Any]:
    """With a cache the next step reads the new token alone; without one, everything up to it."""
    newest = {"input_ids": token[:, None], "attention_mask": torch.ones_like(token[:, None])}
    if "position_ids" in inputs:
        newest["position_ids"] = inputs["position_ids"][:, -1:] + 1
    whole = ("attention_mask",) if cache is not None else tuple(newest)
    grown = {name: torch.cat([inputs[name], newest[name]], 1) if name in whole else newest[name] for name in newest}
    return grown if cache is None else {**grown, "past_key_values": cache}
