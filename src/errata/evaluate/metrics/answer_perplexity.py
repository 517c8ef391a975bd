"""Perplexity of right answers: what the GRACE paper reports of its biographies (ERR and ARR there are perplexities).

The main figure is over the targets of edits; "upstream" over what no edit is about, with "upstream-before" beside it.
Teacher-forced by nature: it says how surprised a model is by the right text, not what it writes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from errata.evaluate.evidence import Evidence, Forced
from errata.evaluate.figures import Figure
from errata.evaluate.metrics._base import Figures, register_metric
from errata.evaluate.metrics._resampled import Column, resampled

LARGEST = 700.0  # nats a token, beyond which exp is no number


@register_metric("answer-perplexity", better="lower", needs=("reliability", "upstream"), unit="perplexity")
def answer_perplexity(evidence: Evidence) -> Figures:
    """exp(all nats / all tokens) of the right answers, their ends included."""
    upstream = evidence.of("upstream")
    return {
        "": _perplexity([answer.forced for answer in evidence.of("reliability")]),
        "upstream": _perplexity([answer.forced for answer in upstream]),
        "upstream-before": _perplexity([answer.forced_before for answer in upstream]),
    }


def _perplexity(scores: Sequence[Forced | None]) -> Figure | None:
    rows = np.array([(score.nll, score.tokens) for score in scores if score is not None]).reshape(-1, 2)
    return resampled(_of, rows, len(rows))


def _of(rows: Column) -> float:
    return math.exp(min(rows[:, 0].sum() / rows[:, 1].sum(), LARGEST))
