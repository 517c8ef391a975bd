"""Portability: whether what follows from an edit follows in the model too (Yao et al., 2023; Cohen et al., 2024).

By sort of consequence as well, such as "one_hop" or "alias". A failed consequence may be one the model never could
draw: the figure does not tell reasoning that broke from reasoning that was not there.
"""

from __future__ import annotations

from errata.evaluate.evidence import Evidence
from errata.evaluate.metrics._base import Figures, register_metric
from errata.evaluate.metrics._graded import graded_by_sort


@register_metric("portability", better="higher", needs=("portability",))
def portability(evidence: Evidence) -> Figures:
    """Share of questions about what follows from an edit that are answered rightly; by sort of question too."""
    return graded_by_sort(evidence.of("portability"))
