"""CounterFact's magnitudes (Meng et al., 2022, ROME): by how much the right answer is likelier than its rival.

EM "efficacy", PM "paraphrase", NM "neighbourhood": differences of exp(-mean NLL a token), between -1 and 1. Not a
probability of the answer as a whole, which is exp of the summed NLL.
"""

from __future__ import annotations

import math

from errata.evaluate.evidence import Evidence
from errata.evaluate.figures import mean
from errata.evaluate.metrics._base import Figures, register_metric
from errata.evaluate.metrics._rivals import graded, matches


@register_metric("magnitude", better="higher", needs=("reliability", "generalization", "locality"), unit="probability")
def magnitude(evidence: Evidence) -> Figures:
    """CounterFact's EM, PM and NM: mean lead in probability a token of the right answer over its rival."""
    return {name: mean(graded(found, _lead)) for name, found in matches(evidence).items()}


def _lead(wanted: float, rival: float) -> float:
    return math.exp(-wanted) - math.exp(-rival)
