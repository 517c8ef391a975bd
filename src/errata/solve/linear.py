"""The one linear system of the locate-then-edit family, solved in the number of keys rather than in their width.

    Delta^T = [Q (K K^T + Kp Kp^T) + mu I + lambda C]^-1 Q K R^T,        Q = I or the projection P

MEMIT (arXiv:2210.07229) has lambda C, its sequential form and NSE (arXiv:2410.04045) past keys Kp as well, AlphaEdit
(arXiv:2410.02355) P, Kp and mu. With X = [K Kp], p columns, and S = lambda C + mu I the system is S + X X^T, and

    (S + X X^T)^-1 X = S^-1 X (I + X^T S^-1 X)^-1      since      (S + X X^T) S^-1 X = X (I + X^T S^-1 X).

So the rows of Delta lie in the span of n columns, Delta = R A, and with a Cholesky factor of S, which is kept, A takes
O(d^2 p) instead of O(d^3). With Q = P = U U^T every column of the solution lies in the range of U (mu Delta^T is what
is left when everything else, which does, is brought to the other side). Delta^T = U Y leaves the symmetric system
U^T X X^T U + mu I + lambda U^T C U for Y; U holds eigenvectors of C, hence U^T C U is diagonal.

Knows keys, residuals and second moments as matrices. It knows no model and no method.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from errata.errors import BadConfig
from errata.solve.preserving import SINGULAR, Preserving, Prior, preserving
from errata.statistics.projection import Projection

ILL = 1e12  # condition number from which fewer than four digits of a float64 solution can be trusted
_REPEATED = 1e-10  # keys whose Gram matrix has an eigenvalue this small, against the largest, count as repeated


@dataclass(frozen=True, eq=False)
class Solution:
    """Delta = B @ A, with what to know of the system it solves.

    Attributes:
        B: (d_out, r) float64.
        A: (r, d_in) float64.
        condition: 2-norm condition number of the system, an estimate.
        residual_error: ||r (A M - K^T)|| / ||r K^T|| with the system's matrix M and one random row r = g R.
        warnings: what to know before using it, in words.
    """

    B: Tensor
    A: Tensor
    condition: float
    residual_error: float
    warnings: tuple[str, ...] = ()

    @property
    def delta(self) -> Tensor:
        """(d_out, d_in)."""
        return self.B @ self.A


@dataclass(frozen=True, eq=False)
class RankOne(Solution):
    """ROME's update Lambda u^T.

    Attributes:
        alignment: k_c . u, which Lambda is divided by: near 0 the update explodes.
    """

    alignment: float = float("nan")


def solve(
    keys: Tensor,
    residuals: Tensor,
    *,
    prior: Prior,
    past: Tensor | None = None,
    ridge: float = 0.0,
    projection: Projection | None = None,
    coordinates: Tensor | None = None,
) -> Solution:
    """The update that maps `keys` towards `residuals` and moves what prior and past keys stand for as little as it can.

    Args:
        keys: K (d_in, n).
        residuals: R (d_out, n), what the matrix should add for each key.
        past: Kp (d_in, m), keys that were edited before and whose answers should stay.
        ridge: mu, weight of the squared norm of the update.
        projection: write within this subspace only. A prior besides it must be of the same second moment.
        coordinates: (c,) long, the only entries of a key that the update may read (NSE's neurons).

    Raises:
        BadConfig: shapes do not fit, a value is not finite, or the system is singular.
    """
    K, R = _checked(keys, residuals)
    if projection is not None and coordinates is not None:
        raise BadConfig("a projection and a choice of coordinates exclude one another; give one of the two")
    if prior.moment is not None:
        _check_width(K, prior.moment.size, "the prior")
    X = K if past is None else torch.cat([K, _exact("past keys", past, len(K)).to(K)], dim=1)
    basis = None if projection is None else _basis(K, projection)
    if basis is not None:
        X = basis.T @ X
    elif coordinates is not None:
        X = X[coordinates]
    S = preserving(prior, ridge, X, projection=projection, coordinates=coordinates)
    inner, condition = _rows(S, X, K.shape[1])
    error = _error(S, X, inner, R)
    if basis is not None:
        A = inner @ basis.T
    elif coordinates is not None:
        A = K.new_zeros(K.shape[1], len(K))
        A[:, coordinates] = inner
    else:
        A = inner
    return Solution(R, A, condition, error, _warnings(condition))


def emmet(keys: Tensor, residuals: Tensor, prior: Prior, *, lam: float = 0.1, ridge: float = 0.0) -> Solution:
    """EMMET (Gupta et al., arXiv:2403.14236): Delta = R (K^T S^-1 K + lam I)^-1 K^T S^-1, S = lambda C + ridge I.

    By the identity above this is R K^T (lam S + K K^T)^-1: for lam > 0 EMMET is MEMIT with lam times its prior. With
    lam = 0 every key is mapped exactly; where keys (nearly) repeat that cannot be, and the pseudo-inverse maps them to
    the mean of what they ask for, with a warning. Without a prior and a ridge, S = I.

    Raises:
        BadConfig: shapes do not fit, a value is not finite, or S is singular.
    """
    if not lam >= 0:
        raise BadConfig(f"lam is {lam}; use 0 or more")
    ridge = 1.0 if prior.in_force is None and ridge == 0 else ridge
    if lam > 0:
        return solve(keys, residuals, prior=Prior(prior.moment, prior.weight * lam), ridge=ridge * lam)
    K, R = _checked(keys, residuals)
    if prior.moment is not None:
        _check_width(K, prior.moment.size, "the prior")
    S = preserving(prior, ridge, K)
    whitened = S.whiten(K)
    gram = whitened.T @ whitened
    values = torch.linalg.eigvalsh(gram)
    repeated = bool(values[0] <= _REPEATED * values[-1])
    inverse = torch.linalg.pinv(gram, rtol=_REPEATED, hermitian=True) if repeated else torch.linalg.inv(gram)
    A = S.unwhiten(whitened @ inverse).T
    condition = float(values[-1] / values[0].clamp(min=torch.finfo(torch.float64).tiny))
    text = "some keys (nearly) repeat, so that not all of them get exactly what they ask for; set lam above 0"
    error = _relative(R @ (A @ K) - R, R)
    return Solution(R, A, condition, error, (text,) if repeated else ())


def rank_one(
    key: Tensor, residual: Tensor, prior: Prior, *, ridge: float = 0.0, read: Tensor | None = None
) -> RankOne:
    """ROME (Meng et al., arXiv:2202.05262): Delta = Lambda u^T, u = S^-1 k / ||S^-1 k||, Lambda = residual / (k_c . u).

    Without a prior and a ridge, S = I.

    Args:
        key: k (d_in,).
        residual: v* - W k_c (d_out,).
        read: k_c (d_in,), the key the residual was measured at; by default `key` itself, which is r-ROME. Another one
            is how ROME was published, and why it may destroy a model: see `RankOne.alignment`.

    Raises:
        BadConfig: shapes do not fit, a value is not finite, S is singular or k_c . u is 0.
    """
    K, R = _checked(key[:, None], residual[:, None])
    if prior.moment is not None:
        _check_width(K, prior.moment.size, "the prior")
    ridge = 1.0 if prior.in_force is None and ridge == 0 else ridge
    S = preserving(prior, ridge, K)
    direction = S.unwhiten(S.whiten(K))
    u = direction / direction.norm()
    at = K if read is None else _exact("the key read", read[:, None], len(K)).to(K)
    own, alignment = float((K * u).sum()), float((at * u).sum())
    if not abs(alignment) > 0:
        raise BadConfig("the key that is edited and the key that is read have nothing in common; edit another subject")
    condition = S.largest / S.smallest
    warnings = _warnings(condition)
    if abs(alignment) < 0.1 * abs(own):
        warnings += (
            f"the key that is read agrees with the edited one to {alignment / own:.3g} only, which makes the update "
            f"{abs(own / alignment):.3g} times as large; use the averaged key for both",
        )
    B = R / alignment
    return RankOne(B, u.T, condition, _relative(B @ (u.T @ at) - R, R), warnings, alignment)


def _rows(S: Preserving, X: Tensor, count: int) -> tuple[Tensor, float]:
    """A (n, w), the first `count` rows of X^T (S + X X^T)^-1, and the condition number of the system.

    Counted in flops, going through the keys costs w p^2 + p^3 / 3 and the matrix itself w^3 / 3 beyond what both take:
    about equal at p = w / 2.
    """
    if S.smallest * SINGULAR <= S.largest or 2 * X.shape[1] >= len(X):
        return _rows_directly(S, X, count)
    whitened = S.whiten(X)
    small = whitened.T @ whitened
    small.diagonal().add_(1)
    unit = torch.eye(len(small), dtype=X.dtype, device=X.device)[:, :count]
    mixed = whitened @ torch.cholesky_solve(unit, torch.linalg.cholesky(small))
    # The largest row sum bounds the largest eigenvalue of X^T X, hence of X X^T.
    bound = float((X.T @ X).abs().sum(1).max())
    return S.unwhiten(mixed).T, (S.largest + bound) / S.smallest


def _rows_directly(S: Preserving, X: Tensor, count: int) -> tuple[Tensor, float]:
    whole = torch.addmm(S.dense(), X, X.T)
    factor, info = torch.linalg.cholesky_ex(whole)
    condition = float("inf") if int(info) else _condition(whole, factor)
    if condition > SINGULAR:
        raise BadConfig(
            f"the linear system is singular: {X.shape[1]} keys of {len(X)} coordinates, some of them repeated or too "
            "few, and nothing to preserve; give a prior, or a ridge above 0"
        )
    return torch.cholesky_solve(X[:, :count], factor).T, condition


def _condition(matrix: Tensor, factor: Tensor, rounds: int = 12) -> float:
    """Condition number by power iteration with the matrix and with its inverse, from a fixed random start."""
    seeded = torch.Generator().manual_seed(0)
    high = torch.randn(len(matrix), 1, generator=seeded, dtype=torch.float64).to(matrix)
    low, largest, inverse = high.clone(), 0.0, 0.0
    for _ in range(rounds):
        high, low = matrix @ (high / high.norm()), torch.cholesky_solve(low / low.norm(), factor)
        largest, inverse = float(high.norm()), float(low.norm())
    return largest * inverse


def _error(S: Preserving, X: Tensor, rows: Tensor, residuals: Tensor) -> float:
    """How far the rows (n, w) are from solving rows (S + X X^T) = K^T, for one random mixture of what is asked."""
    seeded = torch.Generator().manual_seed(0)
    mixture = residuals.T @ torch.randn(len(residuals), 1, generator=seeded, dtype=torch.float64).to(residuals)
    wanted = X[:, : len(rows)] @ mixture
    found = rows.T @ mixture
    return _relative(S.times(found) + X @ (X.T @ found) - wanted, wanted)


def _relative(miss: Tensor, wanted: Tensor) -> float:
    size = float(wanted.norm())
    return float(miss.norm()) / size if size else float(miss.norm())


def _warnings(condition: float) -> tuple[str, ...]:
    if condition < ILL:
        return ()
    return (
        f"the linear system is ill-conditioned (about {condition:.1g}): fewer than four digits of the update can be "
        "trusted; take the key statistics over more text, or give a (larger) ridge",
    )


def _basis(keys: Tensor, projection: Projection) -> Tensor:
    _check_width(keys, len(projection.vectors), "the projection")
    return projection.basis.to(keys)


def _checked(keys: Tensor, residuals: Tensor) -> tuple[Tensor, Tensor]:
    K = _exact("keys", keys, len(keys))
    R = _exact("residuals", residuals, len(residuals)).to(K)
    if K.shape[1] != R.shape[1] or not K.shape[1]:
        raise BadConfig(f"{K.shape[1]} keys came with {R.shape[1]} residuals; give one for each key, and at least one")
    return K, R


def _exact(what: str, given: Tensor, width: int) -> Tensor:
    if given.dim() != 2 or len(given) != width:
        raise BadConfig(f"{what} must be columns ({width}, n), not {tuple(given.shape)}")
    # Apple's GPUs have no float64.
    exact = given.detach().to("cpu" if given.device.type == "mps" else given.device, torch.float64)
    if not exact.isfinite().all():
        raise BadConfig(f"{what} hold NaN or infinity; load the model in float32 or bfloat16")
    return exact


def _check_width(keys: Tensor, width: int, what: str) -> None:
    if len(keys) != width:
        raise BadConfig(f"keys have {len(keys)} coordinates and {what} {width}; take both of one matrix")
