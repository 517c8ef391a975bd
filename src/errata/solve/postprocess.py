"""What is done to an update before it is written, to spare the rest of the model: RECT, PRUNE and SPHERE.

Pure functions of an update and the matrix (d_out, d_in) it goes on. They know no method and no model.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from errata.errors import BadConfig


def rect(delta: Tensor, weight: Tensor, *, keep: float = 0.4, eps: float = 1e-8) -> Tensor:
    """RECT (Gu et al., arXiv:2401.04700): the entries of `delta` with the largest relative change, the others 0.

    An entry's relative change is |delta / (weight + eps)|; the `keep` share (0 to 1) of all entries stays, and at equal
    changes those that tie with the last one too. The result (d_out, d_in) is dense: it is no longer of low rank.

    Raises:
        BadConfig: `keep` is out of range or the shapes differ.
    """
    _check_shapes(delta, weight)
    _check_share("keep", keep)
    kept = round(keep * delta.numel())
    if kept == 0:
        return torch.zeros_like(delta)
    change = (delta / (weight.to(delta) + eps)).abs()
    threshold = change.flatten().kthvalue(delta.numel() - kept + 1).values
    return torch.where(change >= threshold, delta, 0)


def prune(delta: Tensor, weight: Tensor, *, base: float = math.e) -> Tensor:
    """PRUNE (Ma et al., arXiv:2405.16821): `delta` with its large singular values drawn in.

    A singular value s of `delta` above t, the largest of `weight`, becomes log_b(s) - log_b(t) + t. `delta` is the sum
    of all edits so far, and `weight` the matrix before any of them.

    Raises:
        BadConfig: `base` is not above 1 or the shapes differ.
    """
    _check_shapes(delta, weight)
    left, values, right = torch.linalg.svd(delta, full_matrices=False)
    return (left * _drawn_in(values, _largest(weight), base)) @ right


def prune_factors(B: Tensor, A: Tensor, weight: Tensor, *, base: float = math.e) -> tuple[Tensor, Tensor]:
    """`prune` of B A, of rank r, as factors (d_out, r) and (r, d_in): no matrix of full size is decomposed.

    With B = Qb Rb and A^T = Qa Ra the singular values of B A are those of the small Rb Ra^T.

    Raises:
        BadConfig: `base` is not above 1 or the shapes differ.
    """
    if (B.shape[0], A.shape[1]) != weight.shape or B.shape[1] != A.shape[0]:
        raise BadConfig(f"factors {tuple(B.shape)} and {tuple(A.shape)} do not fit a matrix {tuple(weight.shape)}")
    left, right = torch.linalg.qr(B), torch.linalg.qr(A.T)
    inner, values, outer = torch.linalg.svd(left.R @ right.R.T, full_matrices=False)
    return (left.Q @ inner) * _drawn_in(values, _largest(weight), base), outer @ right.Q.T


def sphere(rows: Tensor, weight: Tensor, *, energy: float = 0.5, strength: float = 0.5) -> Tensor:
    """SPHERE (arXiv:2510.01172): rows (r, d_in) less `strength` of what lies along main directions of W.

    rows (I - strength U U^T), where U are the fewest top eigenvectors of X^T X that hold `energy` of its trace and X is
    `weight` with its rows scaled to length 1. `rows` is an update (d_out, d_in), or its right factor A.

    Raises:
        BadConfig: a share is out of range or the shapes differ.
    """
    if rows.shape[-1] != weight.shape[1]:
        raise BadConfig(f"an update with rows of {rows.shape[-1]} does not fit a matrix {tuple(weight.shape)}")
    _check_share("strength", strength)
    main = main_directions(weight, energy=energy).to(rows)
    return rows - strength * (rows @ main) @ main.T


def main_directions(weight: Tensor, *, energy: float = 0.5) -> Tensor:
    """U (d_in, j) float64: the directions that `sphere` spares. They depend on the matrix alone.

    X^T X and the smaller X X^T share their eigenvalues s^2, and u = X^T q / s turns an eigenvector of one into one of
    the other.

    Raises:
        BadConfig: `energy` is out of range.
    """
    _check_share("energy", energy)
    exact = weight.detach().double()
    unit = exact / exact.norm(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
    if unit.shape[0] > unit.shape[1]:
        values, vectors = torch.linalg.eigh(unit.T @ unit)
        return vectors.flip(1)[:, : _holding(values.flip(0), energy)]
    values, vectors = torch.linalg.eigh(unit @ unit.T)
    count = _holding(values.flip(0), energy)
    return unit.T @ (vectors.flip(1)[:, :count] / values.flip(0)[:count].sqrt())


def _holding(values: Tensor, energy: float) -> int:
    """How many of the values, descending, it takes to hold the share `energy` of their sum."""
    shares = values.clamp(min=0).cumsum(0) / values.clamp(min=0).sum()
    # A share that is met exactly must not be missed by rounding.
    return int((shares < energy - 1e-12).sum()) + 1 if energy > 0 else 0


def _drawn_in(values: Tensor, limit: float, base: float) -> Tensor:
    if base <= 1:
        raise BadConfig(f"the base of PRUNE's logarithm must be above 1, not {base}")
    return torch.where(values > limit, (values / limit).log() / math.log(base) + limit, values)


def _largest(weight: Tensor) -> float:
    """The largest singular value, from the smaller of the two Gram matrices."""
    exact = weight.detach().double()
    gram = exact @ exact.T if exact.shape[0] <= exact.shape[1] else exact.T @ exact
    return math.sqrt(float(torch.linalg.eigvalsh(gram)[-1]))


def _check_shapes(delta: Tensor, weight: Tensor) -> None:
    if delta.shape != weight.shape or delta.dim() != 2:
        raise BadConfig(f"an update {tuple(delta.shape)} does not fit a matrix {tuple(weight.shape)}")


def _check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise BadConfig(f"{name} is a share, 0 to 1, not {value}")
