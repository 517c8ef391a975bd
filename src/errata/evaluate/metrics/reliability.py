"""Reliability (efficacy): the share of edits whose own prompt is answered with the target.

"tokens" is the teacher-forced accuracy of ROME, MEMIT and EasyEdit (Meng et al., 2022; Yao et al., 2023); the free
figure is what a user sees (Yang et al., 2025). It says nothing of any other way to ask: see `generalization`.
"""

from __future__ import annotations

from errata.evaluate.evidence import Evidence
from errata.evaluate.metrics._base import Figures, register_metric
from errata.evaluate.metrics._graded import graded


@register_metric("reliability", better="higher", needs=("reliability",))
def reliability(evidence: Evidence) -> Figures:
    """Share of edits whose own prompt is answered with the target, end included."""
    return graded(evidence.of("reliability"))
