"""One pass over text: what flows into some matrices of a model, summed up as it comes, so that nothing is kept of it.

Knows models, batches and partial sums on disk. What is done with the sums is the caller's business.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from errata.models import Batch, EditableModel
from errata.models.encoding import prompt_ids, start_id
from errata.models.hooks import capture
from errata.models.prefix import Prefix
from errata.statistics import cache
from errata.statistics.corpus import Corpus

WINDOW = 1024  # tokens that are read together, where the model can read so many
BUDGET = 2048  # tokens of one forward, padding included
POOL = 256  # texts that are sorted by length together, which saves padding
STRIPS = 8  # in which a sum is computed
SAVE_EVERY = 30.0  # seconds
SAVE_SHARE = 0.05  # of the time may go into saving, however large the sums are


@dataclass
class Collected:
    """Sums of k k^T (d, d), float64, by block, of which only the upper triangle counts; over how many tokens, and
    batches."""

    sums: dict[int, Tensor]
    tokens: int = 0
    batches: int = 0


def collect(
    model: EditableModel, paths: Mapping[int, str], corpus: Corpus, tokens: int, partial: Path, *, progress: bool
) -> Collected:
    """Sum k k^T over the first `tokens` tokens, for the inputs k of the modules at `paths` (by block).

    Sums are saved at `partial` from time to time, and taken up from there. The blocks above the last one do not run.
    """
    found = _resumed(partial, paths)
    saved, cost = time.monotonic(), 0.0
    shown = model.progress.or_terminal(progress)
    with shown.bar("key statistics", tokens, "token", done=found.tokens) as bar:
        for number, batch in enumerate(batches(model, corpus)):
            if found.tokens >= tokens:
                break
            if number < found.batches:
                continue
            before = found.tokens
            _add(model, paths, batch, tokens, found)
            bar.update(found.tokens - before)
            if time.monotonic() - saved > max(SAVE_EVERY, cost / SAVE_SHARE):
                started = time.monotonic()
                _save(partial, found)
                saved = time.monotonic()
                cost = saved - started
    return found


@torch.no_grad()
def _add(model: EditableModel, paths: Mapping[int, str], batch: Batch, tokens: int, found: Collected) -> None:
    real = batch.attention_mask.bool()
    with capture(model.model, paths.values(), what="input") as inputs:
        Prefix(model, batch, max(paths))
    for layer, path in paths.items():
        seen = inputs[path][-1].reshape(*real.shape, -1)  # some models flatten rows before their MLP
        # A key is float32 or less; its products and their sum are not. Apple's GPUs have no float64.
        place = "cpu" if seen.device.type == "mps" else seen.device
        keys = seen[real.to(seen.device)][: tokens - found.tokens].to(place, torch.float64)
        if layer not in found.sums:
            found.sums[layer] = keys.new_zeros(keys.shape[1], keys.shape[1])
        found.sums[layer] = found.sums[layer].to(place)
        _add_products(found.sums[layer], keys)
    found.tokens = min(tokens, found.tokens + int(real.sum()))
    found.batches += 1


def _add_products(total: Tensor, keys: Tensor) -> None:
    """Add k k^T for every row k of `keys`, on and above the diagonal of blocks: little more than half the work."""
    width = -(-len(total) // STRIPS)
    for start in range(0, len(total), width):
        total[start : start + width, start:].addmm_(keys[:, start : start + width].T, keys[:, start:])


def batches(model: EditableModel, corpus: Corpus) -> Iterator[Batch]:
    """The corpus as padded batches, the same ones every time; a long text is cut into windows."""
    window = min(WINDOW, model.context or WINDOW)
    left = iter(corpus.texts)
    while texts := list(islice(left, POOL)):
        rows = [
            ids[start : start + window]
            for ids in prompt_ids(model, texts)
            for start in range(0, len(ids), window)
        ]
        rows.sort(key=len)
        while rows:
            count = 1
            while count < len(rows) and (count + 1) * len(rows[count]) <= BUDGET:
                count += 1
            yield packed(model, rows[:count])
            rows = rows[count:]


def packed(model: EditableModel, rows: list[list[int]]) -> Batch:
    """Rows of token ids as one batch, padded on the right; nothing in it is asked."""
    width = max(map(len, rows))
    device = model.device
    ids = torch.tensor([row + [model.pad_id] * (width - len(row)) for row in rows], device=device)
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=device)
    start = torch.full((len(rows), 1), start_id(model), device=device) if model.task == "seq2seq" else None
    return Batch(
        ids,
        mask,
        query=mask.sum(1) - 1,
        target_ids=[[] for _ in rows],
        decoder_input_ids=start,
        position_ids=(mask.cumsum(1) - 1).clamp(min=0) if model.task == "causal" else None,
    )


def _save(partial: Path, found: Collected) -> None:
    sums = {str(layer): total for layer, total in found.sums.items()}
    cache.store(partial, sums, {"tokens": found.tokens, "batches": found.batches})


def _resumed(partial: Path, paths: Mapping[int, str]) -> Collected:
    entry = cache.fetch(partial)
    if entry is None:
        return Collected({})
    tensors, card = entry
    return Collected({layer: tensors[str(layer)] for layer in paths}, card["tokens"], card["batches"])
