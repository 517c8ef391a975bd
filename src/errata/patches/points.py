"""Many points that only ever grow in number, and which of them lie near a state.

Knows vectors and distances. It does not know what a point stands for. Candidates are found with float32 products and
a bound of their rounding error; who is near is then decided by exact distances, so no result depends on how it was
computed: one by one or in bulk, on the CPU or elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

_ROOM = 64  # rows allocated at first
_COARSE = 4  # every how manieth coordinate the first look compares, and
_FEWEST = 32  # how many coordinates it needs to tell anything
_CELLS = 1 << 23  # numbers in one table of scores


def distances(points: Tensor, states: Tensor) -> Tensor:
    """Row by row L2 distances of (N, d) tensors, or of one (d,) state to (N, d) points, (N,) float64.

    The bits of a distance do not depend on which other rows are asked for with it.
    """
    return (points.double() - states.double()).square().sum(1).sqrt()


def rounding(width: int, device: torch.device) -> float:
    """Bound of the error of a float32 |k|^2 - 2 k.q + |q|^2 of `width` coordinates, as a share of |k|^2 + |q|^2.

    A matrix product may run in TF32 on an accelerator, and in bfloat16 on the CPU if the user asked for it.
    """
    if device.type != "cpu":
        factor = 2.0**-11
    else:
        factor = 0.0 if torch.backends.mkldnn.matmul.fp32_precision in ("none", "ieee") else 2.0**-8
    return (width + 16) * 2.0**-24 + 2 * factor


class Points:
    """The first `rows` points of a store that is shared with longer and shorter versions of itself.

    Appending is in place as long as this is the longest version, and copies otherwise (a fork).
    """

    def __init__(self, width: int) -> None:
        self.rows = 0
        self._store = _Store(width)

    @property
    def width(self) -> int:
        return self._store.full.shape[1]

    @property
    def full(self) -> Tensor:
        """(rows, d) float32, to be read only."""
        return self._store.full[: self.rows]

    @property
    def coarse(self) -> Tensor:
        """(rows, p) float32: some coordinates of every point. Distances between them bound the full ones from below."""
        return self._store.coarse[: self.rows]

    @property
    def squares(self) -> Tensor:
        """(rows, 2): squared norms of the coarse and of the full points."""
        return self._store.squares[: self.rows]

    @property
    def step(self) -> int:
        """`coarse` holds every `step`-th coordinate."""
        return self._store.step

    def copy(self) -> Points:
        """Another version of the same length; the store is shared."""
        other = Points.__new__(Points)
        other.rows, other._store = self.rows, self._store
        return other

    def append(self, point: Tensor) -> int:
        """Add a (d,) float32 point; its row."""
        if self._store.used != self.rows or self.rows == len(self._store.full):
            self._store = self._store.grown(self.rows)
        self._store.write(self.rows, point)
        self.rows += 1
        return self.rows - 1

    def bounds(self, states: Tensor, start: int = 0) -> Tensor:
        """(N, rows - start): lower bounds of the squared distances from (N, d) states, from coarse coordinates."""
        thin = states[:, :: self.step]
        slack = 1 - rounding(thin.shape[1], states.device)
        table = torch.addmm(self.squares[start:, 0] * slack, thin, self.coarse[start:].t(), alpha=-2)
        return table.add_(thin.square().sum(1, keepdim=True), alpha=slack)

    def near(self, state: Tensor, reach: Tensor, bounds: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Rows at most `reach` (rows,) away from a (d,) state, ascending, and their distances, float64.

        A negative reach finds nothing. `bounds` are those of the first rows, if they are at hand.
        """
        known = 0 if bounds is None else len(bounds)
        found = [] if bounds is None else [bounds]
        if known < self.rows:
            found.append(self.bounds(state[None], known)[0])
        squared = reach.square().mul_(1 + 1e-6).copysign(reach)
        rows = (torch.cat(found) <= squared).nonzero()[:, 0]
        if len(rows) > _ROOM:
            rows = rows[self._fine(state, rows) <= squared[rows]]
        exact = distances(self.full[rows], state)
        within = (exact <= reach[rows]) & (reach[rows] >= 0)
        return rows[within], exact[within]

    def _fine(self, state: Tensor, rows: Tensor) -> Tensor:
        """Lower bounds of the squared distances to some rows, from all coordinates."""
        slack = 1 - rounding(self.width, state.device)
        few = 2 * len(rows) < self.rows
        products = self.full[rows] @ state if few else (self.full @ state)[rows]
        return self.squares[rows, 1].mul_(slack).sub_(products, alpha=2).add_(state.square().sum(), alpha=slack)


class _Store:
    """Arrays with room for more rows than are used."""

    def __init__(self, width: int, room: int = _ROOM) -> None:
        self.step = max(1, min(_COARSE, width // _FEWEST))
        self.full = torch.empty(room, width)
        self.coarse = torch.empty(room, math.ceil(width / self.step))
        self.squares = torch.empty(room, 2)
        self.used = 0

    def grown(self, rows: int) -> _Store:
        """A store of its own with the first `rows` points and twice the room they need."""
        larger = _Store(self.full.shape[1], max(_ROOM, 2 * rows))
        for name in ("full", "coarse", "squares"):
            getattr(larger, name)[:rows] = getattr(self, name)[:rows]
        larger.used = rows
        return larger

    def write(self, row: int, point: Tensor) -> None:
        thin = point[:: self.step]
        self.full[row] = point
        self.coarse[row] = thin
        self.squares[row, 0] = thin.square().sum()
        self.squares[row, 1] = point.square().sum()
        self.used = row + 1


def chunks(states: int, rows: int) -> Iterator[slice]:
    """Slices of so many states that a table of them against `rows` points stays small."""
    size = max(1, _CELLS // max(1, rows))
    return (slice(start, start + size) for start in range(0, states, size))
