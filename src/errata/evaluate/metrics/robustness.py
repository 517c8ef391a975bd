"""Robustness: whether an edit holds when its own prompt is worn: mistyped, in capitals, after other text.

By sort of shift as well (`errata.evaluate.shifts`). It is not generalization: the words stay, their form or
surroundings change.
"""

from __future__ import annotations

from errata.evaluate.evidence import Evidence
from errata.evaluate.metrics._base import Figures, register_metric
from errata.evaluate.metrics._graded import graded_by_sort


@register_metric("robustness", better="higher", needs=("robustness",))
def robustness(evidence: Evidence) -> Figures:
    """Share of an edit's prompts under a shift that are still answered with the target; by sort of shift too."""
    return graded_by_sort(evidence.of("robustness"))
