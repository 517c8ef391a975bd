"""One number for an edit: the harmonic mean of reliability, generalization and locality, under free generation.

After CounterFact's S (Meng et al., 2022), of exact answers instead of comparisons; a ruined model scores nought, for it
is 0 as soon as one of the three is. Absent where one of them was not asked: it is no mean of two.
"""

from __future__ import annotations

from errata.evaluate.evidence import Evidence
from errata.evaluate.grading import exact
from errata.evaluate.metrics._base import Figures, register_metric
from errata.evaluate.metrics._resampled import harmonic as harmonic_mean


@register_metric("harmonic", better="higher", needs=("reliability", "generalization", "locality"))
def harmonic(evidence: Evidence) -> Figures:
    """Harmonic mean of reliability, generalization and locality by free answers; 0 if one of them is 0."""
    followed = [
        [(answer.unit, float(exact(answer.said, answer.expected))) for answer in evidence.of(kind)]
        for kind in ("reliability", "generalization")
    ]
    kept = [(answer.unit, float(answer.said == answer.before)) for answer in evidence.of("locality")]
    return {"": harmonic_mean([*followed, kept])}
