"""Generalization (paraphrase): whether an edit holds when its question is put in other words.

After Mitchell et al. (2022, MEND) and Meng et al. (2022, ROME), whose figure is "tokens". It looks at the same fact in
other words; what follows from the fact is `portability`.
"""

from __future__ import annotations

from errata.evaluate.evidence import Evidence
from errata.evaluate.figures import share
from errata.evaluate.grading import says
from errata.evaluate.metrics._base import Figures, register_metric
from errata.evaluate.metrics._graded import graded


@register_metric("generalization", better="higher", needs=("generalization",))
def generalization(evidence: Evidence) -> Figures:
    """Share of an edit's rephrased questions that are answered with the target, end included.

    "says" is lenient: the target stands somewhere in the free answer.
    """
    answers = evidence.of("generalization")
    return {**graded(answers), "says": share((one.unit, says(one.said, one.expected)) for one in answers)}
