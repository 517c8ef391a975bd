"""Many points that only ever grow in number, and which of them lie near a state.

Knows vectors and distances. It does not know what a point stands for. Candidates are found with float32
products and a bound of their rounding error; who is near is then decided by exact distances, so no result
depends on how it was computed: one by one or in bulk, on the CPU or elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

_ROOM = 64  # rows allocated at first
_LEAST, _MOST = 32, 128  # coordinates that the first look compares; about every fourth in between
_FEW = 64  # candidates that are compared exactly without a second look
_CELLS = 1 << 23  # numbers in one table of scores


def distances(points: Tensor, states: Tensor) -> Tensor:
    """Row by row L2 distances of (N, d) tensors, or of one (d,) state to (N, d) points; (N,) float64.

    The bits of a distance do not depend on which other rows are asked for with it.
    """
    return (points.double() - states.double()).square_().sum(1).sqrt_()


def rounding(width: int, device: torch.device) -> float:
    """Bound of the error of |k|^2 - 2 k.q + |q|^2 over `width` coordinates, as a share of |k|^2 + |q|^2.

    In float32, whose matrix products may run in TF32 on an accelerator, and in bfloat16 on the CPU if the user
    asked for it.
    """
    if device.type != "cpu":
        factor = 2.0**-11
    else:
        precision = torch.backends.mkldnn.matmul.fp32_precision  # type: ignore[attr-defined]
        factor = 0.0 if precision in ("none", "ieee") else 2.0**-8
    return vector_rounding(width) + 2 * factor


def vector_rounding(width: int) -> float:
    """The same for products with one vector, which are float32 whatever the precision of matrix products is."""
    return (width + 16) * 2.0**-24


def chunks(states: int, rows: int) -> Iterator[slice]:
    """Slices of so many states that a table of them against `rows` points stays small."""
    size = max(1, _CELLS // max(1, rows))
    return (slice(start, start + size) for start in range(0, states, size))


class Points:
    """The first `rows` points of a store that is shared with longer and shorter versions of itself.

    Appending is in place as long as no other version has gone another way, and copies otherwise (a fork).
    """

    def __init__(self, width: int) -> None:
        self.rows = 0
        self._store = _Store(width)

    @property
    def width(self) -> int:
        return self._store.full.shape[1]

    @property
    def step(self) -> int:
        """`coarse` holds every `step`-th coordinate."""
        return self._store.step

    @property
    def full(self) -> Tensor:
        """(rows, d) float32, to be read only."""
        return self._store.full[: self.rows]

    @property
    def coarse(self) -> Tensor:
        """(rows, p) float32: some coordinates of every point. Their distances are never above the full ones."""
        return self._store.coarse[:, : self.rows].t()

    @property
    def squares(self) -> Tensor:
        """(2, rows): squared norms of the coarse and of the full points."""
        return self._store.squares[:, : self.rows]

    def copy(self) -> Points:
        """Another version of the same length; the store is shared."""
        other = Points.__new__(Points)
        other.rows, other._store = self.rows, self._store
        return other

    def append(self, point: Tensor) -> int:
        """Add a (d,) float32 point; its row."""
        store = self._store
        # What another version added there may be the same point: a draft and its final form share all they can.
        if self.rows >= store.used or not torch.equal(store.full[self.rows], point):
            if self.rows < store.used or self.rows == len(store.full):
                store = self._store = store.grown(self.rows)
            store.write(self.rows, point)
        self.rows += 1
        return self.rows - 1

    def bounds(self, states: Tensor) -> Tensor:
        """(N, rows): lower bounds of the squared distances from (N, d) states, from coarse coordinates."""
        thin = states[:, :: self.step]
        slack = 1 - rounding(thin.shape[1], states.device)
        table = torch.addmm(self.squares[0] * slack, thin, self.coarse.t(), alpha=-2)
        return table.add_(thin.square().sum(1, keepdim=True), alpha=slack)

    def near(self, state: Tensor, reach: Tensor, bounds: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Rows at most `reach` (rows,) away from a (d,) state, ascending, and their distances, float64.

        A reach of NaN finds nothing. `bounds` are those of the first rows, if they are at hand.
        """
        if bounds is None:
            bounds = self._bounds_of_one(state, 0)
        elif len(bounds) < self.rows:
            bounds = torch.cat((bounds, self._bounds_of_one(state, len(bounds))))
        squared = reach * reach
        rows = (bounds <= squared).nonzero()[:, 0]
        if len(rows) > _FEW:
            rows = rows[self._fine(state, rows) <= squared[rows]]
        exact = distances(self.full[rows], state)
        within = exact <= reach[rows]
        return rows[within], exact[within]

    def _bounds_of_one(self, state: Tensor, start: int) -> Tensor:
        thin = state[:: self.step].contiguous()
        slack = 1 - vector_rounding(len(thin))
        scores = torch.addmv(self.squares[0, start:], self.coarse[start:], thin, beta=slack, alpha=-2)
        return scores.add_(torch.dot(thin, thin), alpha=slack)

    def _fine(self, state: Tensor, rows: Tensor) -> Tensor:
        """Lower bounds of the squared distances to some rows, from all coordinates."""
        slack = 1 - vector_rounding(self.width)
        few = 2 * len(rows) < self.rows
        products = self.full[rows] @ state if few else (self.full @ state)[rows]
        norms = self.squares[1, rows].mul_(slack).add_(torch.dot(state, state), alpha=slack)
        return norms.sub_(products, alpha=2)


class _Store:
    """Arrays with room for more rows than are used."""

    def __init__(self, width: int, room: int = _ROOM) -> None:
        self.step = max(1, min(4, width // _LEAST), width // _MOST)
        self.full = torch.empty(room, width)
        self.coarse = torch.empty(math.ceil(width / self.step), room)  # this way round a product is faster
        self.squares = torch.empty(2, room)
        self.used = 0

    def grown(self, rows: int) -> _Store:
        """A store of its own with the first `rows` points and twice the room they need."""
        larger = _Store(self.full.shape[1], max(_ROOM, 2 * rows))
        larger.full[:rows] = self.full[:rows]
        larger.coarse[:, :rows] = self.coarse[:, :rows]
        larger.squares[:, :rows] = self.squares[:, :rows]
        larger.used = rows
        return larger

    def write(self, row: int, point: Tensor) -> None:
        thin = point[:: self.step]
        self.full[row] = point
        self.coarse[:, row] = thin
        self.squares[0, row] = torch.dot(thin, thin)
        self.squares[1, row] = torch.dot(point, point)
        self.used = row + 1
