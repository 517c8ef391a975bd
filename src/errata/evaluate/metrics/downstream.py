"""Accuracy on downstream tasks, as studies of forgetting watch it (Gupta et al., 2024, arXiv:2401.07453).

By task as well, such as "blimp", with "blimp.before" of the unedited model and the paired "blimp.change". A task on
which the model was no better than chance has nothing to lose: read "change" beside "before".
"""

from __future__ import annotations

from errata.evaluate.downstream.grades import figures
from errata.evaluate.evidence import Evidence
from errata.evaluate.metrics._base import Figures, register_metric


@register_metric("downstream", better="higher", needs=("downstream",))
def downstream(evidence: Evidence) -> Figures:
    """Share of the questions of downstream tasks that are answered rightly; "before" any edit, and the "change"."""
    return figures(evidence.downstream)
