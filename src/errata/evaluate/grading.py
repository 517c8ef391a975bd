"""Grading an answer against the expected text: normalised exact match, and F1 over words. Knows no model."""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalised(text: str) -> str:
    """Lower case, without punctuation, English articles and surplus blanks (as for SQuAD), in Unicode's NFKC."""
    plain = unicodedata.normalize("NFKC", text).lower().translate(PUNCTUATION)
    return " ".join(ARTICLES.sub(" ", plain).split())


def exact(answer: str, expected: str) -> bool:
    """Whether the whole answer, and nothing after it, is the expected text once both are normalised."""
    wanted = normalised(expected)
    return normalised(answer) == wanted if wanted else answer.strip() == expected.strip()


def first_clause(text: str) -> str:
    """Return what stands before the first stop, comma or line break, normalised: the answer without what follows it."""
    return normalised(re.split(r"[.,;:!?\n]", text.strip())[0])


def says(answer: str, expected: str) -> bool:
    """Whether the expected text stands in the answer as whole words once both are normalised."""
    return f" {normalised(expected)} " in f" {normalised(answer)} "


def f1(answer: str, expected: str) -> float:
    """Harmonic mean of precision and recall over the words of both, repeated words counted (Rajpurkar et al., 2016)."""
    given, wanted = normalised(answer).split(), normalised(expected).split()
    if not given or not wanted:
        return float(given == wanted)
    common = sum((Counter(given) & Counter(wanted)).values())
    return 2 * common / (len(given) + len(wanted))
