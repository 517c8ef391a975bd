"""The null space of what a model's keys hold: where AlphaEdit may write (Fang et al., arXiv:2410.02355).

Knows second moments. How a projection enters the linear system is the solver's business.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from torch import Tensor

from errata.errors import BadConfig
from errata.statistics import cache, kept
from errata.statistics.moments import SecondMoment

KIND = "eigenvectors"

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Projection:
    """The orthogonal projection on the eigenvectors of a second moment with the smallest eigenvalues.

    Attributes:
        vectors: (d, d) float64, the eigenvectors as columns, those of small eigenvalues first.
        spectrum: (d,) their eigenvalues, ascending.
        dimension: how many of them span the subspace.
        key: identity of the second moment it was taken of.
    """

    vectors: Tensor
    spectrum: Tensor
    dimension: int
    key: str

    @property
    def basis(self) -> Tensor:
        """U (d, dimension), orthonormal columns that span the subspace."""
        return self.vectors[:, : self.dimension]

    @property
    def matrix(self) -> Tensor:
        """P = U U^T (d, d)."""
        return self.basis @ self.basis.T

    @property
    def dropped_energy(self) -> float:
        """Share of the trace of the second moment that lies outside the subspace, 0 to 1."""
        return float(self.spectrum[self.dimension :].sum() / self.spectrum.sum())

    def __call__(self, columns: Tensor) -> Tensor:
        """P times `columns` (d, n)."""
        return self.basis @ (self.basis.T @ columns)


def null_space(moment: SecondMoment, *, keep: float | None = None, threshold: float | None = None) -> Projection:
    """The subspace that the keys behind `moment` hardly use. Exactly one of the two rules is given.

    Args:
        keep: the largest subspace of smallest eigenvalues that holds at most this share of the trace, 0 to 1:
            free of scale, so that one value suits all models.
        threshold: the eigenvectors with eigenvalues below this number, as published (0.02): the right number depends
            on how large a model's keys are.

    Raises:
        BadConfig: both rules or none, a number out of range, or no direction is left to write in.
    """
    if (keep is None) == (threshold is None):
        raise BadConfig("a null space is chosen by `keep` or by `threshold`: give one of the two")
    values, vectors = kept.remember((KIND, moment.key), lambda: _eigen(moment), lambda pair: pair[1].nbytes)
    dimension = _within(values, keep or 0.0) if threshold is None else int((values < threshold).sum())
    if dimension == 0:
        smallest = float(values[0])
        raise BadConfig(
            f"no direction of {moment.name} is left to write in: its smallest eigenvalue is {smallest:.3g}, "
            f"{float(values[0] / values.sum()):.3g} of the trace; raise the threshold"
        )
    projection = Projection(vectors, values, dimension, moment.key)
    log.info(
        "%s: %d of %d directions are free, %.3g of the trace is protected",
        moment.name, dimension, moment.size, projection.dropped_energy,
    )  # fmt: skip
    return projection


def _within(values: Tensor, keep: float) -> int:
    """How many of the ascending values it takes at most to hold the share `keep` of their sum."""
    if not 0 < keep <= 1:
        raise BadConfig(f"keep is a share of the trace, above 0 and up to 1, not {keep}")
    shares = values.cumsum(0) / values.sum()
    # A share that is met exactly must not be missed by rounding.
    return int((shares <= keep + 1e-12).sum())


def _eigen(moment: SecondMoment) -> tuple[Tensor, Tensor]:
    """Eigenvalues (d,), ascending, and eigenvectors (d, d), from the cache if they are there."""
    entry = cache.address(KIND, {"version": 1, "moment": moment.key})
    if stored := cache.fetch(entry):
        return stored[0]["values"], stored[0]["vectors"]
    values, vectors = torch.linalg.eigh(moment.matrix)
    values = values.clamp(min=0)
    cache.store(entry, {"values": values, "vectors": vectors}, {"of": moment.name})
    return values, vectors
