"""Drawdown: accuracy on everything unrelated that the edits cost (Sinitsin et al., 2020; Mitchell et al., 2022).

Each question is its own comparison, so that answers gained set off answers lost; the interval puts Wilson's for both
together, which is wide, and never has width nought: that no question of 300 changed does not prove that none would.
Reads answer keys alone: a wrong answer that became another wrong one is no loss here, but lowers `locality`.
"""

from __future__ import annotations

from errata.evaluate.evidence import Evidence
from errata.evaluate.figures import change
from errata.evaluate.grading import exact
from errata.evaluate.metrics._base import Figures, register_metric


@register_metric("drawdown", better="lower", needs=("upstream", "locality"), unit="share lost")
def drawdown(evidence: Evidence) -> Figures:
    """Share of unrelated questions with an answer key answered rightly before, less the share answered rightly now."""
    answers = [answer for answer in evidence.of("upstream", "locality") if answer.question.expected]
    return {"": change((a.unit, exact(a.before, a.expected), exact(a.said, a.expected)) for a in answers)}
