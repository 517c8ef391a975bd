"""The metric under which wordings of one fact lie close and facts lie apart: linear discriminants, softly weighted.

After probabilistic linear discriminant analysis (Ioffe, 2006). Knows states and which fact each is of, and no model.
"""

from __future__ import annotations

import torch
from torch import Tensor

from errata.patches.metric import Metric

SHRINKAGE = 0.1  # of the within-fact covariance towards a multiple of the identity
LEAST = 0.9  # directions that tell facts apart less than this are left out


def discriminant(states: Tensor, fact: Tensor) -> Metric:
    """The metric (q, d) from states (N, d) of the facts numbered by `fact` (N,), each of which has two or more.

    Its unit is the deviation of a wording from its fact's mean. A direction in which facts vary by lambda of these
    units, squared, counts by lambda / (lambda + 1).
    """
    states = states.double()
    count = int(fact.max()) + 1
    sizes = torch.zeros(count, dtype=torch.float64).index_add_(0, fact, torch.ones(len(fact), dtype=torch.float64))
    means = torch.zeros(count, states.shape[1], dtype=torch.float64).index_add_(0, fact, states) / sizes[:, None]
    inside = states - means[fact]
    within = inside.T @ inside / max(1, len(states) - count)
    between = torch.cov(means.T)
    ball = within.diagonal().mean().clamp(min=1e-12) * torch.eye(len(within), dtype=torch.float64)
    within = (1 - SHRINKAGE) * within + SHRINKAGE * ball
    root = torch.linalg.cholesky(within)
    whitened = torch.linalg.solve_triangular(root, between, upper=False)
    whitened = torch.linalg.solve_triangular(root, whitened.T, upper=False)
    ratio, directions = torch.linalg.eigh((whitened + whitened.T) / 2)
    weight = ratio.clamp(min=0) / (ratio.clamp(min=0) + 1)
    kept = weight >= min(LEAST, float(weight.max()))
    mapped = torch.linalg.solve_triangular(root.T, directions[:, kept], upper=True).T
    return Metric((weight[kept].sqrt()[:, None] * mapped).flip(0))
