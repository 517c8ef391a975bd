"""What a model makes of canonical examples: nats of what may follow each prompt, and whether that meets the goal.

Knows examples, goals and thresholds; knows no edit.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from errata.datasets import Example
from errata.datasets._canonical import Canonical
from errata.edits import PAIRED
from errata.models import EditableModel
from errata.models.losses import target_loss

ROWS = 64  # prompts in one forward


@torch.no_grad()
def nats(model: EditableModel, prompts: Sequence[str], suffixes: Sequence[str]) -> list[float]:
    """Negative log-likelihood of each suffix after its prompt, summed over its tokens; no end token belongs to it."""
    found = [0.0] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
    with model.evaluating():
        for start in range(0, len(order), ROWS):
            places = order[start : start + ROWS]
            batch = model.encode([prompts[p] for p in places], [suffixes[p] for p in places], end=False)
            assert batch.gold is not None
            means = target_loss(model.forward(batch, keep=batch.keep), batch.gold).tolist()
            for place, mean, target in zip(places, means, batch.target_ids, strict=True):
                found[place] = mean * len(target)
    return found


def values(model: EditableModel, task: Canonical, examples: Sequence[Example]) -> list[float]:
    """What the task's threshold is set against, one number an example (see `Canonical.threshold`)."""
    if not examples:
        return []
    prompts = [example.prompt for example in examples]
    first = nats(model, prompts, [example.choices[0] for example in examples])
    if task.goal not in PAIRED:
        return first
    second = nats(model, prompts, [example.choices[1] for example in examples])
    pairs = zip(first, second, strict=True)
    return [abs(one - two) if task.goal == "balance" else two - one for one, two in pairs]


def met(task: Canonical, value: float) -> bool:
    """Whether an example with this value is done."""
    return value >= task.threshold if task.goal in ("lower", "contrast") else value <= task.threshold


def kept(model: EditableModel, examples: Sequence[Example]) -> list[float]:
    """Nats of what must stay likely: the one choice of each hard negative."""
    return nats(model, [one.prompt for one in examples], [one.choices[0] for one in examples]) if examples else []
