"""Divergence from the unedited model on general text: KL(before || now), nats a token.

The penalty of editors that hold to the model they edit (Meng et al., 2022; Hewitt et al., 2024). It sees every change
of the next word's chances, for good or ill; whether the change does harm it cannot say.
"""

from __future__ import annotations

import numpy as np

from errata.evaluate.evidence import Evidence
from errata.evaluate.metrics._base import Figures, register_metric
from errata.evaluate.metrics._resampled import Column, resampled


@register_metric("kl", better="lower", needs=("texts",), unit="nats a token")
def kl(evidence: Evidence) -> Figures:
    """How far the model's next-token distributions on general text have moved from the unedited model's."""
    rows = np.array([(text.kl * text.tokens, text.tokens) for text in evidence.texts]).reshape(-1, 2)
    return {"": resampled(_a_token, rows, len(rows))}


def _a_token(rows: Column) -> float:
    return float(rows[:, 0].sum() / rows[:, 1].sum())
