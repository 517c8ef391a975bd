"""Which states lie in which ball, fast enough to ask at every token.

Knows a geometry and a device. A first look at some coordinates (float32, on the device, with a bound of its error)
tells in one product that a state is in no ball, which is nearly always so. Only the others are looked at closely, by
exact distances on the CPU: what fires does not depend on the device or on how states were batched.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from errata.patches.geometry import Geometry
from errata.patches.points import chunks, distances, rounding, vector_rounding

_WIDER = 1 + 1e-6  # a ball's share of rounding


class Hits(NamedTuple):
    """States in a ball: their index (n,), the row of the key that answers, and their distance from it; on the CPU."""

    states: Tensor
    rows: Tensor
    distances: Tensor


class Search:
    """Looks states up in one geometry on one device."""

    def __init__(self, geometry: Geometry, device: torch.device) -> None:
        self.device = device
        self._geometry = geometry
        self._balls = torch.where(geometry.radius >= 0, -geometry.radius.square() * _WIDER, float("inf"))
        points = geometry.points
        # An accelerator compares all coordinates as fast as some.
        self._step = points.step if device.type == "cpu" else 1
        self._matrix = (points.coarse if device.type == "cpu" else points.full).to(device)
        self._squares = points.squares[0 if device.type == "cpu" else 1]
        self._slack = 1 - vector_rounding(self._matrix.shape[1])
        self._bias = (self._squares * self._slack + self._balls).to(device)

    def hits(self, states: Tensor) -> Hits | None:
        """The states (N, d), of any float dtype, that lie in a ball: each belongs to the nearest key of those.

        None if there are none.
        """
        if not len(self._balls):
            return None
        if len(states) == 1:
            return self._decide(states, None) if self._may_hit(states[0]) else None
        found = [self._some(states[part], part.start) for part in chunks(len(states), len(self._balls))]
        hits = [part for part in found if part is not None]
        if len(hits) < 2:
            return hits[0] if hits else None
        return Hits(*(torch.cat(parts) for parts in zip(*hits, strict=True)))

    def _may_hit(self, state: Tensor) -> bool:
        thin = state[:: self._step].float().contiguous()
        closest = torch.addmv(self._bias, self._matrix, thin, alpha=-2).min()
        return torch.add(closest, torch.dot(thin, thin), alpha=self._slack).item() <= 0

    def _some(self, states: Tensor, start: int) -> Hits | None:
        thin = states[:, :: self._step].float()
        slack = 1 - rounding(thin.shape[1], self.device)
        bias = (self._squares * slack + self._balls).to(self.device)
        closest = torch.addmm(bias, thin, self._matrix.t(), alpha=-2).amin(1)
        near = (closest.add_(thin.square().sum(1), alpha=slack) <= 0).nonzero()[:, 0]
        hits = self._decide(states[near], near.cpu()) if len(near) else None
        return hits and hits._replace(states=hits.states + start)

    def _decide(self, states: Tensor, index: Tensor | None) -> Hits | None:
        """Of states that may hit, those that do; `index` is what they are called."""
        exact = states.detach().cpu()
        pairs = self._pairs(exact.float())
        points, radius = self._geometry.points.full, self._geometry.radius
        away = distances(points[pairs[:, 1]], exact[pairs[:, 0]])
        inside = away <= radius[pairs[:, 1]]
        pairs, away = pairs[inside], away[inside]
        if not len(pairs):
            return None
        least = torch.full((len(states),), float("inf"), dtype=away.dtype)
        least.scatter_reduce_(0, pairs[:, 0], away, "amin")
        nearest = (away == least[pairs[:, 0]]).nonzero()[:, 0]
        first = torch.ones_like(nearest, dtype=torch.bool)  # of equally near keys, the first
        first[1:] = pairs[nearest[1:], 0] != pairs[nearest[:-1], 0]
        chosen = nearest[first]
        named = pairs[chosen, 0] if index is None else index[pairs[chosen, 0]]
        return Hits(named, pairs[chosen, 1], away[chosen])

    def _pairs(self, states: Tensor) -> Tensor:
        """(P, 2): states and rows that all coordinates in float32 cannot tell apart from a hit, in order."""
        points = self._geometry.points
        slack = 1 - rounding(points.width, states.device)
        bias = points.squares[1] * slack + self._balls
        table = torch.addmm(bias, states, points.full.t(), alpha=-2)
        return (table.add_(states.square().sum(1, keepdim=True), alpha=slack) <= 0).nonzero()
