"""Gold accuracy: how many unrelated questions are answered rightly, by an answer key.

ROME's "specificity" on zsRE (Meng et al., 2022) is its part "tokens". A model that never knew an answer loses nothing
here, so read it beside "before", the unedited model's own score. Agreement with that model is `locality`.
"""

from __future__ import annotations

from errata.evaluate.evidence import Evidence
from errata.evaluate.metrics._base import Figures, register_metric
from errata.evaluate.metrics._graded import first_choices, graded, right_before


@register_metric("gold-accuracy", better="higher", needs=("locality",))
def gold_accuracy(evidence: Evidence) -> Figures:
    """Share of questions no edit is about that are answered rightly, by an answer key; "before" any edit too."""
    answers = [answer for answer in evidence.of("locality") if answer.question.expected]
    scored = [(answer.unit, answer.forced_before) for answer in answers if answer.forced_before is not None]
    return {**graded(answers), "before": right_before(answers), "tokens-before": first_choices(scored)}
