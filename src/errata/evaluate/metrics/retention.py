"""Edit retention (ERR): how many earlier edits still hold, the latest batch left out (Hartvigsen et al., 2023, GRACE).

GRACE's own figure is F1 over sets of token ids; ".f1" is over words, with repetition. Not the success of an edit at the
moment it was made, which is `reliability` of the latest batch; absent where nobody said which batch that is.
"""

from __future__ import annotations

from errata.evaluate.evidence import Evidence
from errata.evaluate.metrics._base import Figures, register_metric
from errata.evaluate.metrics._graded import graded, words


@register_metric("retention", better="higher", needs=("reliability",))
def retention(evidence: Evidence) -> Figures:
    """Share of edits made before the latest batch whose own prompt is still answered with the target."""
    if not evidence.latest:
        return {}
    earlier = [answer for answer in evidence.of("reliability") if answer.question.edit not in evidence.latest]
    return {**graded(earlier), "f1": words(earlier)}
