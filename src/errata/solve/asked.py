"""What a model makes of prompts that are followed by their targets: states along the target, and what it would say.

Knows batches and one block. What becomes of the states is the caller's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from errata.models import EditableModel
from errata.models.hooks import capture
from errata.models.losses import IGNORED
from errata.statistics.asking import begins

ROWS = 128  # prompts in one forward


class Asked(NamedTuple):
    """One prompt with its target of K tokens, end included.

    Attributes:
        states: (K, d) float32 on the CPU: at the prompt's query and at every token of the target but the end.
        label: the target's ids, K of them.
        position: of the query among the prompt's tokens.
        said: the token with which the model itself would begin, or the class it would name.
    """

    states: Tensor
    label: tuple[int, ...]
    position: int
    said: int


def ask(model: EditableModel, layer: int, prompts: Sequence[str], targets: Sequence[str]) -> list[Asked]:
    """States at the output of block `layer`, with every attached patch in force."""
    found: list[Asked] = []
    for start in range(0, len(prompts), ROWS):
        found += _ask(model, layer, prompts[start : start + ROWS], targets[start : start + ROWS])
    return found


@torch.no_grad()
def _ask(model: EditableModel, layer: int, prompts: Sequence[str], targets: Sequence[str]) -> list[Asked]:
    batch = model.encode(prompts, targets)
    path = model.arch.blocks[layer]
    with model.evaluating(), capture(model.model, [path]) as seen:
        logits = model.forward(batch, keep=batch.keep)
    assert batch.gold is not None
    first = (batch.gold[:, -logits.shape[1] :] != IGNORED).int().argmax(1)
    said = logits[torch.arange(len(batch)), first].argmax(-1).tolist()
    columns = begins(model, batch, layer).tolist()
    positions = (batch.query - batch.pads).tolist()
    hidden = seen[path][0].float().cpu()
    return [
        Asked(hidden[row, column : column + len(label)], tuple(label), position, token)
        for row, (column, label, position, token) in enumerate(
            zip(columns, batch.target_ids, positions, said, strict=True)
        )
    ]
