"""States at the places where a model answers: of prompts, one each, and of running text, one a token.

Knows models and blocks. What the states tell is the business of those who ask.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from errata.models import Batch, EditableModel
from errata.models.hooks import capture
from errata.statistics.collecting import batches
from errata.statistics.corpus import Corpus

ROWS = 64  # prompts in one forward
TOKENS = 4096  # of running text


@torch.no_grad()
def read_states(
    model: EditableModel, prompts: Sequence[str], layers: Sequence[int], *, progress: bool = False
) -> dict[int, Tensor]:
    """By block: the states (N, d) float32 on the CPU from which the answers to N prompts begin."""
    found = {layer: torch.zeros(len(prompts), model.width) for layer in layers}
    order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))  # of like length: little padding
    shown = model.progress.or_terminal(progress)
    with model.evaluating(), shown.bar("reading states of wordings", len(order), "prompt") as bar:
        for start in range(0, len(order), ROWS):
            places = order[start : start + ROWS]
            batch = model.encode([prompts[place] for place in places])
            for layer, hidden in _outputs(model, batch, layers).items():
                rows = torch.arange(len(batch), device=hidden.device)
                found[layer][places] = hidden[rows, begins(model, batch, layer)].float().cpu()
            bar.update(len(places))
    return found


def begins(model: EditableModel, batch: Batch, layer: int) -> Tensor:
    """(B,): the columns of a block's output from which the answers begin: a decoder's first, else the query."""
    decoding = model.task == "seq2seq" and model.arch.causal(layer)
    return torch.zeros_like(batch.query) if decoding else batch.query


@torch.no_grad()
def text_states(model: EditableModel, text: Corpus, layers: Sequence[int]) -> dict[int, Tensor]:
    """By block: states (N, d) at the first tokens of a text; none of a model that is not causal."""
    parts: dict[int, list[Tensor]] = {layer: [torch.empty(0, model.width)] for layer in layers}
    tokens = 0
    if model.task == "causal":
        with model.evaluating():
            for batch in batches(model, text):
                real = batch.attention_mask.bool()
                for layer, hidden in _outputs(model, batch, layers).items():
                    parts[layer].append(hidden[real].float().cpu())
                if (tokens := tokens + int(real.sum())) >= TOKENS:
                    break
    return {layer: torch.cat(found)[:TOKENS] for layer, found in parts.items()}


def _outputs(model: EditableModel, batch: Batch, layers: Sequence[int]) -> dict[int, Tensor]:
    paths = {layer: model.arch.blocks[layer] for layer in layers}
    with capture(model.model, paths.values()) as seen:
        model.run(model.inputs(batch), keep=1)
    return {layer: seen[path][0] for layer, path in paths.items()}
