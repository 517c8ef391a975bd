"""F1 over words between what was said and the target (Rajpurkar et al., 2016): credit for a near miss.

GRACE's figure (Hartvigsen et al., 2023) is over sets of token ids instead. A target with much after it loses here by
degrees; `reliability` calls it wrong.
"""

from __future__ import annotations

from errata.evaluate.evidence import Evidence
from errata.evaluate.metrics._base import Figures, register_metric
from errata.evaluate.metrics._graded import words


@register_metric("f1", better="higher", needs=("reliability", "generalization"))
def f1(evidence: Evidence) -> Figures:
    """Mean word overlap (F1) of the answers to edits' own prompts with the target; "generalization": to rephrases."""
    return {"": words(evidence.of("reliability")), "generalization": words(evidence.of("generalization"))}
