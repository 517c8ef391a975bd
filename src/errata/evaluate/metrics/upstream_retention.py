"""Test retention (TRR): how much of what the model knew it still answers (Hartvigsen et al., 2023, GRACE).

Graded against the answer key where there is one, else against what the unedited model said. With a key, compare with
"before": it is not a loss what was never known.
"""

from __future__ import annotations

from errata.evaluate.evidence import Evidence
from errata.evaluate.metrics._base import Figures, register_metric
from errata.evaluate.metrics._graded import graded, right_before, words


@register_metric("upstream-retention", better="higher", needs=("upstream",))
def upstream_retention(evidence: Evidence) -> Figures:
    """Share of questions on what the model knew that are answered rightly, or as before if they have no answer key."""
    answers = evidence.of("upstream")
    return {**graded(answers), "f1": words(answers), "before": right_before(answers)}
