"""Null spaces by both rules, on spectra that are known."""

from __future__ import annotations

import pytest
import torch

from errata.errors import BadConfig
from errata.statistics import SecondMoment, cache, kept, null_space

VALUES = (0.01, 0.015, 0.3, 0.675, 9.0)  # sum 10


def moment(scale: float = 1.0) -> SecondMoment:
    seeded = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(5, 5, generator=seeded, dtype=torch.float64)).Q
    matrix = (basis * (scale * torch.tensor(VALUES, dtype=torch.float64))) @ basis.T
    return SecondMoment.of((matrix + matrix.T) / 2, 100)


def test_it_is_an_orthogonal_projection_on_small_eigenvectors() -> None:
    C = moment()
    P = null_space(C, threshold=0.02)
    assert P.dimension == 2
    assert torch.allclose(P.matrix @ P.matrix, P.matrix)
    assert torch.allclose(P.matrix, P.matrix.T)
    assert float(P.matrix.trace()) == pytest.approx(2)
    assert torch.allclose((P.matrix @ C.matrix).trace(), torch.tensor(0.025, dtype=torch.float64))
    columns = torch.rand(5, 3, dtype=torch.float64)
    assert torch.allclose(P(columns), P.matrix @ columns)
    assert P.dropped_energy == pytest.approx(1 - 0.0025)


@pytest.mark.parametrize(("keep", "dimension"), [(0.0011, 1), (0.0025, 2), (0.03, 2), (0.0325, 3), (0.1, 4), (1.0, 5)])
def test_keep_is_the_largest_share_of_the_trace_that_stays(keep: float, dimension: int) -> None:
    assert null_space(moment(), keep=keep).dimension == dimension


def test_only_the_threshold_depends_on_the_scale() -> None:
    assert null_space(moment(0.1), keep=0.03).dimension == 2
    assert null_space(moment(0.1), threshold=0.02).dimension == 2
    assert null_space(moment(0.01), threshold=0.02).dimension == 4


@pytest.mark.parametrize("rule", [{}, {"keep": 0.1, "threshold": 0.1}])
def test_one_rule_is_given(rule: dict[str, float]) -> None:
    with pytest.raises(BadConfig, match="one of the two"):
        null_space(moment(), **rule)


def test_nothing_left_and_shares_out_of_range_are_refused() -> None:
    for rule in ({"threshold": 0.001}, {"keep": 0.0001}):
        with pytest.raises(BadConfig, match="no direction of the given matrix is left"):
            null_space(moment(), **rule)
    for keep in (0.0, 1.1):
        with pytest.raises(BadConfig, match="share of the trace"):
            null_space(moment(), keep=keep)


def test_eigenvectors_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = null_space(moment(), keep=0.1)
    kept.forget()
    monkeypatch.setattr(torch.linalg, "eigh", None)
    again = null_space(moment(), threshold=0.02)
    assert torch.equal(again.vectors, first.vectors)
    assert [path.name for path in cache.cache_dir().iterdir()] == ["eigenvectors"]
