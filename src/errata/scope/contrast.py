"""Learning a metric by contrast: texts that ask the same come to lie closer to one another than to any other.

Knows vectors and which of them belong together; no texts.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from errata.scope.scorer import Metric

LEARNING_RATE = 2e-2  # of the projection, in units of its own spread
SHARPNESS = 15.0  # of the softmax at the beginning
EVERY = 20  # steps between two reports of progress

Draw = Callable[[random.Random], tuple[Sequence[int], Sequence[int]]]


def learn_metric(
    vectors: Tensor, draw: Draw, *, dimensions: int, steps: int, report: Callable[[int], object], seed: int
) -> Metric:
    """Learn a metric of vectors (n, e), starting from their whitening.

    Minimises a contrastive loss (InfoNCE, arXiv:1807.03748).

    Args:
        draw: returns rows of vectors, and as many that belong to them one by one, followed by any that do not.
        report: is told the number of steps made.
    """
    centre = vectors.mean(0)
    units = normalize(vectors - centre, dim=1)
    values, axes = torch.linalg.eigh(torch.cov(units.T))
    k = min(dimensions, units.shape[1])
    start = axes[:, -k:] * (values[-k:].clamp_min(1e-6) + 0.02 * values.max()).rsqrt()
    projection = start.clone().requires_grad_()
    sharpness = torch.tensor(math.log(SHARPNESS), requires_grad=True)
    optimizer = torch.optim.Adam([projection, sharpness], lr=LEARNING_RATE * float(start.std()))
    rng = random.Random(seed)
    for step in range(steps):
        ones, twos = draw(rng)
        placed = normalize(units[ones] @ projection, dim=1)
        others = normalize(units[twos] @ projection, dim=1)
        loss = cross_entropy(placed @ others.T * sharpness.exp(), torch.arange(len(ones)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % EVERY == EVERY - 1:
            report(EVERY)
    return Metric(centre, projection.detach())
