"""Fluency: n-gram entropy of long sampled continuations, the prompt included (Zhang et al., 2018; ROME's "GE").

100 x (1/3 of the entropy of word pairs + 2/3 of that of word triples), in bits. It falls when a model repeats itself
and nothing else: fluent nonsense scores high.
"""

from __future__ import annotations

import re
from collections import Counter

import numpy as np

from errata.evaluate.evidence import Evidence
from errata.evaluate.figures import mean
from errata.evaluate.metrics._base import Figures, register_metric

WEIGHTS = {2: 1 / 3, 3: 2 / 3}  # length of the n-grams: weight


@register_metric("fluency", better="higher", needs=("continuations",), unit="100 x bits")
def fluency(evidence: Evidence) -> Figures:
    """Variety of the words in long continuations of edits' prompts; "before" any edit too."""
    texts = evidence.continuations
    return {
        "": mean((text.edit, entropy(f"{text.prompt} {text.said}")) for text in texts),
        "before": mean((text.edit, entropy(f"{text.prompt} {text.before}")) for text in texts),
    }


def entropy(text: str) -> float:
    """The weighted n-gram entropy of a text, 100 x bits; 0 for one too short to have n-grams."""
    words = re.findall(r"\w+|[^\w\s]", text)
    return 100 * sum(weight * _bits(Counter(zip(*(words[start:] for start in range(n)), strict=False)))
                     for n, weight in WEIGHTS.items())


def _bits(counts: Counter[tuple[str, ...]]) -> float:
    shares = np.array(list(counts.values()), dtype=np.float64) / max(counts.total(), 1)
    return float(-(shares * np.log2(shares)).sum())
