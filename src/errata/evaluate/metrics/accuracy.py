"""Accuracy of a classifier: the share of questions whose label is right; by kind of question, and before.

The metric of GRACE's SCOTUS task (Hartvigsen et al., 2023). Of models that write text it says nothing: their answers
are graded kind by kind (`reliability` and its like), and a mean over all kinds hangs on how many of each were asked.
"""

from __future__ import annotations

from errata.evaluate.evidence import Evidence
from errata.evaluate.metrics._base import Figures, register_metric
from errata.evaluate.metrics._graded import right, right_before
from errata.evaluate.questions import KINDS


@register_metric("accuracy", better="higher", needs=KINDS)
def accuracy(evidence: Evidence) -> Figures:
    """Share of a classifier's labels that are right, over all questions with an answer key and by kind of question."""
    # Only a classifier's answers have no teacher-forced score.
    answers = [answer for answer in evidence.answers if answer.question.expected and answer.forced is None]
    kinds = {kind: right(a for a in answers if a.question.kind == kind) for kind in KINDS}
    return {"": right(answers), "before": right_before(answers), **kinds}
