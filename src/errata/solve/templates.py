"""Context templates: what an edited prompt is read after, so that an edit holds in running text too.

Prefixes are sampled once from the original model, with a generator of their own. Knows models and text; it does not
know edits. A prompt is joined to its prefix by plain concatenation: braces in it are text.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from errata.models import Batch, EditableModel
from errata.models.encoding import prompt_ids
from errata.patches.original import patches_off
from errata.statistics.identity import original_fingerprint

Style = Literal["rome", "memit", "none"]

OPENINGS = ("The", "Therefore", "Because", "I", "You")  # what MEMIT lets the model continue
CHOICES = 5  # the likeliest tokens, among which each next one is drawn
JOINT = ". "  # between a prefix and the prompt


@dataclass(frozen=True)
class Contexts:
    """Prefixes, the bare prompt's "" first, and what each counts in an average; the weights sum to 1."""

    prefixes: tuple[str, ...]
    weights: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.prefixes)

    def weight(self) -> Tensor:
        """(C,) float64."""
        return torch.tensor(self.weights, dtype=torch.float64)


# State of a model, not of a process.
_SAMPLED: weakref.WeakKeyDictionary[nn.Module, dict[tuple[str, str, int], Contexts]] = weakref.WeakKeyDictionary()


def contexts(model: EditableModel, style: Style, seed: int) -> Contexts:
    """The contexts of a model, sampled from its original weights (every patch off), the same for the same seed.

    "rome": the bare prompt and 20 prefixes (10 of 5 tokens, 10 of 10) that follow the start token, all of equal weight
    (arXiv:2202.05262). "memit": the bare prompt, which counts half, and 10 tokens after each of OPENINGS
    (arXiv:2210.07229). "none": the bare prompt.
    """
    if style == "none":
        return Contexts(("",), (1.0,))
    known = _SAMPLED.setdefault(model.model, {})
    key = (style, original_fingerprint(model), seed)
    if key not in known:
        with patches_off(model):
            known[key] = _rome(model, seed) if style == "rome" else _memit(model, seed)
    return known[key]


def _rome(model: EditableModel, seed: int) -> Contexts:
    start = [[_start_id(model)]] * 10
    generator = torch.Generator().manual_seed(seed)
    texts = [text for length in (5, 10) for text in _continued(model, start, length, generator)]
    prefixes = ("", *texts)
    return Contexts(prefixes, (1 / len(prefixes),) * len(prefixes))


def _memit(model: EditableModel, seed: int) -> Contexts:
    generator = torch.Generator().manual_seed(seed)
    texts = [_continued(model, [ids], 10, generator)[0] for ids in prompt_ids(model, OPENINGS)]
    return Contexts(("", *texts), (0.5, *[0.5 / len(texts)] * len(texts)))


def _start_id(model: EditableModel) -> int:
    names = (model.tokenizer.bos_token_id, model.tokenizer.eos_token_id, model.pad_id)
    return next(int(token) for token in names if isinstance(token, int))


@torch.no_grad()
def _continued(model: EditableModel, rows: list[list[int]], length: int, generator: torch.Generator) -> list[str]:
    """Each row, all equally long, with `length` tokens sampled after it, as a prefix, without special ones."""
    ids = torch.tensor(rows, device=model.device)
    special = torch.tensor(sorted(set(model.tokenizer.all_special_ids)), device=model.device)
    with model.evaluating():
        for _ in range(length):
            mask = torch.ones_like(ids)
            batch = Batch(ids, mask, mask.sum(1) - 1, [[] for _ in rows], position_ids=mask.cumsum(1) - 1)
            logits = model.forward(batch, keep=1)[:, -1].float()
            logits[:, special] = -torch.inf
            best = logits.topk(CHOICES)
            # Drawn on the CPU: a seed then means the same on every device.
            drawn = torch.multinomial(best.values.softmax(-1).cpu(), 1, generator=generator).to(ids.device)
            ids = torch.cat([ids, best.indices.gather(1, drawn)], 1)
    texts = model.tokenizer.batch_decode(ids.tolist(), skip_special_tokens=True)
    return [" ".join(text.split()) + JOINT for text in texts]
