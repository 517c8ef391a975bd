"""How far the weights that were edited have moved from the originals, in Frobenius norm.

The main figure is ||W - W0|| / ||W0|| over all moved matrices as one; "per-element" is ||W - W0|| / number of elements,
what studies of forgetting track (Gupta et al., 2024, arXiv:2401.07453). A method that keeps the weights scores nought
whatever it does to answers.
"""

from __future__ import annotations

import math

from errata.evaluate.evidence import Evidence
from errata.evaluate.figures import exact_value
from errata.evaluate.metrics._base import Figures, register_metric


@register_metric("weight-distance", better="lower", needs=("weights",), unit="relative norm")
def weight_distance(evidence: Evidence) -> Figures:
    """Relative distance of the edited matrices from the originals; "largest" is that of the matrix that moved most."""
    if evidence.moved is None:
        return {}
    moved = [matrix for matrix in evidence.moved if matrix.norm > 0]
    distance, norm = (math.hypot(*sizes) for sizes in ([m.distance for m in moved], [m.norm for m in moved]))
    size = sum(matrix.size for matrix in moved)
    values = {
        "": distance / norm if moved else 0.0,
        "largest": max((matrix.distance / matrix.norm for matrix in moved), default=0.0),
        "per-element": distance / size if moved else 0.0,
    }
    return {name: exact_value(value, len(moved)) for name, value in values.items()}
