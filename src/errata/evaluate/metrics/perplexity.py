"""Perplexity on general text: the collapse monitor of the field (ME-PPL, Yang et al., 2024, arXiv:2402.09656).

The main figure is exp(all nats / all tokens); "mean" is the mean of each text's own, as ME-PPL has it, which a single
outlier rules. Low perplexity is no proof of an unharmed model: facts can go without it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from errata.evaluate.evidence import Evidence
from errata.evaluate.metrics._base import Figures, register_metric
from errata.evaluate.metrics._resampled import Column, resampled


@register_metric("perplexity", better="lower", needs=("texts",), unit="perplexity")
def perplexity(evidence: Evidence) -> Figures:
    """Perplexity on general text; "before" any edit, and "change" from before to now as a share."""
    rows = np.array([(text.nll, text.nll_before, text.tokens) for text in evidence.texts]).reshape(-1, 3)
    figures = {"": _now, "mean": _mean, "before": _before, "change": _change}
    return {name: resampled(statistic, rows, len(rows)) for name, statistic in figures.items()}


def _now(rows: Column) -> float:
    return _exp(rows[:, 0].sum() / rows[:, 2].sum())


def _before(rows: Column) -> float:
    return _exp(rows[:, 1].sum() / rows[:, 2].sum())


def _change(rows: Column) -> float:
    return _exp((rows[:, 0].sum() - rows[:, 1].sum()) / rows[:, 2].sum()) - 1


def _mean(rows: Column) -> float:
    return float(np.mean(_exp(rows[:, 0] / rows[:, 2])))


def _exp(nats: Any) -> Any:
    return np.exp(np.minimum(nats, 700))  # a ruined model's stays a number
