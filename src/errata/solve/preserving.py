"""S = lambda C + mu I, the part of the linear system that stands for what must not change, and its inverse.

Whitening is the only way in: with S = F F^T it turns keys X into F^-1 X, so that X^T S^-1 X is the Gram matrix of what
comes out. Knows second moments, projections and matrices; what they are solved for is `errata.solve.linear`'s business.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from errata.errors import BadConfig
from errata.statistics import kept
from errata.statistics.moments import SecondMoment
from errata.statistics.projection import Projection

FLOOR = 1e-4  # in units of the mean eigenvalue
SINGULAR = 1e15  # a condition number from which float64 cannot tell the matrix from a singular one


@dataclass(frozen=True, eq=False)
class Prior:
    """lambda C: how much what the model knows weighs against an edit. Without a moment nothing is preserved."""

    moment: SecondMoment | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.weight >= 0:
            raise BadConfig(f"the weight of the prior is {self.weight}; use 0 or more")

    @property
    def floor(self) -> float:
        """A mu that keeps lambda C from being singular: text leaves some directions of a key unused."""
        return 0.0 if self.moment is None else FLOOR * self.weight * float(self.moment.matrix.diagonal().mean())

    @property
    def in_force(self) -> SecondMoment | None:
        """The moment, unless it weighs nothing."""
        return self.moment if self.weight > 0 else None


class Preserving(ABC):
    """S in the coordinates in which the system is solved, (w, w).

    Attributes:
        smallest, largest: its eigenvalues at the ends.
    """

    smallest: float
    largest: float

    @abstractmethod
    def whiten(self, columns: Tensor) -> Tensor:
        """F^-1 X for X (w, n)."""

    @abstractmethod
    def unwhiten(self, columns: Tensor) -> Tensor:
        """F^-T Y for Y (w, n): applied to what `whiten` returned it gives S^-1 X."""

    @abstractmethod
    def times(self, columns: Tensor) -> Tensor:
        """S X."""

    @abstractmethod
    def dense(self) -> Tensor:
        """S itself, a copy."""


class Diagonal(Preserving):
    """S = diag(entries): mu I, or any S in the eigenvectors of C. Entries may be 0 as long as nothing is whitened."""

    def __init__(self, entries: Tensor) -> None:
        self.entries = entries[:, None]
        self.smallest, self.largest = float(entries.min()), float(entries.max())

    def whiten(self, columns: Tensor) -> Tensor:
        return columns / self.entries.sqrt()

    def unwhiten(self, columns: Tensor) -> Tensor:
        return columns / self.entries.sqrt()

    def times(self, columns: Tensor) -> Tensor:
        return self.entries * columns

    def dense(self) -> Tensor:
        return torch.diag(self.entries[:, 0])


class Factored(Preserving):
    """S = weight (C + shift I) by the Cholesky factor of C + shift I."""

    def __init__(self, matrix: Tensor, factor: Tensor, weight: float, shift: float, ends: tuple[float, float]) -> None:
        self.matrix, self.factor, self.weight, self.shift = matrix, factor, weight, shift
        self.smallest, self.largest = (weight * (end + shift) for end in ends)

    def whiten(self, columns: Tensor) -> Tensor:
        return torch.linalg.solve_triangular(self.factor, columns, upper=False) / self.weight**0.5

    def unwhiten(self, columns: Tensor) -> Tensor:
        return torch.linalg.solve_triangular(self.factor.T, columns, upper=True) / self.weight**0.5

    def times(self, columns: Tensor) -> Tensor:
        return self.weight * (self.matrix.to(columns) @ columns + self.shift * columns)

    def dense(self) -> Tensor:
        whole = self.weight * self.matrix.to(self.factor)
        whole.diagonal().add_(self.weight * self.shift)
        return whole


def preserving(
    prior: Prior, ridge: float, like: Tensor, *, projection: Projection | None = None, coordinates: Tensor | None = None
) -> Preserving:
    """S for keys `like` (w, n), which are in the coordinates of the subspace or subset if there is one.

    Raises:
        BadConfig: the parts do not fit one another, or S is singular although it has a prior.
    """
    if not ridge >= 0:
        raise BadConfig(f"the ridge is {ridge}; use 0 or more")
    moment = prior.in_force
    if moment is None:
        return Diagonal(like.new_full((len(like),), ridge))
    if projection is not None:
        if projection.key != moment.key:
            raise BadConfig("prior and projection are of different second moments; take both of one")
        return Diagonal(prior.weight * projection.spectrum[: projection.dimension].to(like) + ridge)
    if coordinates is not None:
        return _restricted(prior, moment, ridge, like, coordinates)
    shift = ridge / prior.weight
    ends = (float(moment.spectrum[0]), float(moment.spectrum[-1]))
    _check_regular(moment, ends, shift)
    # The factor costs d^3 / 3 and serves every later edit of this block.
    key = ("cholesky", moment.key, shift, str(like.device))
    factor = kept.remember(key, lambda: _cholesky(moment, moment.matrix.to(like), shift), lambda made: made.nbytes)
    return Factored(moment.matrix, factor, prior.weight, shift, ends)


def _restricted(prior: Prior, moment: SecondMoment, ridge: float, like: Tensor, coordinates: Tensor) -> Preserving:
    """S on a subset of the coordinates, which differs from call to call: its factor is not kept."""
    index = coordinates.to(moment.matrix.device)
    part = moment.matrix[index][:, index].to(like)
    shift = ridge / prior.weight
    # The eigenvalues of a principal part lie between those of the whole (Cauchy).
    ends = (float(moment.spectrum[0]), float(moment.spectrum[-1]))
    if _singular(ends[0] + shift, ends[1] + shift):
        values = torch.linalg.eigvalsh(part).clamp(min=0)
        ends = (float(values[0]), float(values[-1]))
        _check_regular(moment, ends, shift)
    return Factored(part, _cholesky(moment, part, shift), prior.weight, shift, ends)


def _cholesky(moment: SecondMoment, matrix: Tensor, shift: float) -> Tensor:
    shifted = matrix.clone()
    shifted.diagonal().add_(shift)
    factor, info = torch.linalg.cholesky_ex(shifted)
    if int(info):
        raise _too_little(moment)
    return factor


def _singular(smallest: float, largest: float) -> bool:
    return smallest * SINGULAR <= largest


def _check_regular(moment: SecondMoment, ends: tuple[float, float], shift: float) -> None:
    if _singular(ends[0] + shift, ends[1] + shift):
        raise _too_little(moment)


def _too_little(moment: SecondMoment) -> BadConfig:
    return BadConfig(
        f"the key statistics of {moment.name} have rank {moment.rank} of {moment.size} ({moment.tokens} tokens), so "
        "that the linear system is singular; take more tokens or another corpus, or give a ridge above 0"
    )
