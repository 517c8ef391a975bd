"""Where a model in training may read a subject from: masks that leave its last token as the only way.

Left to itself a small model gathers a whole name at the last token of the prompt, and locate-then-edit methods, which
write at the subject's last token, find nothing there to change. Knows GPT-2's blocks and masks; knows no recipe.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import GPT2LMHeadModel

from errata.lab.recipes.corpus import Sentence


def through_subject(rows: Sequence[Sentence], length: int, *, hidden: bool = False) -> Tensor:
    """A causal mask (B, 1, T, T), added to attention scores, in which what follows a subject sees its last token alone,
    or, `hidden`, nothing of it."""
    places = torch.arange(length)
    seen = (places[None, :] <= places[:, None]).repeat(len(rows), 1, 1)
    for row, sentence in zip(seen, rows, strict=True):
        first, last = sentence.subject
        row[last + 1 :, first : last + hidden] = False
    return torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)[:, None]


@contextmanager
def read_late(model: GPT2LMHeadModel, rows: Sequence[Sentence], length: int, block: int) -> Iterator[Tensor]:
    """Inside, what follows a subject sees nothing of it in the blocks before `block`, and from there on its last token.

    So everything that the rest of the network learns of a subject passes through one state: its last token's, at the
    output of block `block` - 1. Gives the mask of the later blocks, to be passed to the model.
    """
    blind = through_subject(rows, length, hidden=True)

    def blinded(module: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        states, cache, _, *rest = args  # GPT-2 hands these to its blocks by position
        return (states, cache, blind, *rest)

    hooks = [model.transformer.h[index].register_forward_pre_hook(blinded) for index in range(block)]
    try:
        yield through_subject(rows, length)
    finally:
        for hook in hooks:
            hook.remove()
