"""Consistency: whether what a model writes about an edit's subject reads like texts about the new answer (ROME's "RS").

100 x cosine between TF-IDF vectors of an edit's continuations, joined, and of its reference texts, joined (Meng et al.,
2022). The inverse document frequencies are those of the references at hand, so figures compare within one run of a data
set and not across. It measures choice of words, not truth.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from errata.evaluate.evidence import Continuation, Evidence
from errata.evaluate.figures import Figure, mean
from errata.evaluate.metrics._base import Figures, register_metric


@register_metric("consistency", better="higher", needs=("continuations",), unit="100 x cosine")
def consistency(evidence: Evidence) -> Figures:
    """Likeness in words of continuations to reference texts about the new answer; "before" any edit too."""
    groups: dict[str, list[Continuation]] = defaultdict(list)
    for text in evidence.continuations:
        if text.references:
            groups[text.edit].append(text)
    documents = {
        edit: _words(" ".join(dict.fromkeys(reference for text in group for reference in text.references)))
        for edit, group in groups.items()
    }
    rarity = _rarity(list(documents.values()))
    return {
        "": _likeness({edit: " ".join(t.said for t in group) for edit, group in groups.items()}, documents, rarity),
        "before": _likeness({edit: " ".join(t.before for t in g) for edit, g in groups.items()}, documents, rarity),
    }


def _likeness(
    texts: Mapping[str, str], documents: Mapping[str, Counter[str]], rarity: Mapping[str, float]
) -> Figure | None:
    return mean((edit, 100 * _cosine(_words(text), documents[edit], rarity)) for edit, text in texts.items())


def _words(text: str) -> Counter[str]:
    return Counter(re.findall(r"\w\w+", text.lower()))


def _rarity(documents: Sequence[Counter[str]]) -> dict[str, float]:
    """Smoothed inverse document frequency, ln((1 + n) / (1 + df)) + 1; words of no document do not count."""
    found = Counter(word for document in documents for word in document)
    return {word: math.log((1 + len(documents)) / (1 + count)) + 1 for word, count in found.items()}


def _cosine(one: Counter[str], other: Counter[str], rarity: Mapping[str, float]) -> float:
    vectors = [{w: n * rarity[w] for w, n in counts.items() if w in rarity} for counts in (one, other)]
    norms = math.prod(math.sqrt(sum(value * value for value in vector.values())) for vector in vectors)
    return sum(value * vectors[1].get(word, 0.0) for word, value in vectors[0].items()) / norms if norms else 0.0
