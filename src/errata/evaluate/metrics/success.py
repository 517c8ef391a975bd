"""CounterFact's ES "efficacy", PS "paraphrase", NS "neighbourhood", and S, their harmonic mean (Meng et al., 2022).

Each is a comparison of two given answers, not what the model says: a ruined model scores about one half on all of them.
Read the exact figures (`reliability`, `generalization`, `gold-accuracy`) beside it.
"""

from __future__ import annotations

from errata.evaluate.evidence import Evidence
from errata.evaluate.figures import share
from errata.evaluate.metrics._base import Figures, register_metric
from errata.evaluate.metrics._resampled import harmonic
from errata.evaluate.metrics._rivals import graded, matches


@register_metric("success", better="higher", needs=("reliability", "generalization", "locality"))
def success(evidence: Evidence) -> Figures:
    """CounterFact's S: how often the right one of two answers is the likelier; ES, PS and NS are its parts."""
    parts = {name: graded(found, lambda wanted, rival: wanted < rival) for name, found in matches(evidence).items()}
    return {"": harmonic(list(parts.values())), **{name: share(grades) for name, grades in parts.items()}}
