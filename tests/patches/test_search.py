"""Looking states up: the fast look must miss nothing that exact distances find, at any scale, dtype and batch size."""

from __future__ import annotations

import time

import pytest
import torch
from torch import Tensor

from errata.patches.codebook import CodebookPatch
from errata.patches.fold import fold
from errata.patches.geometry import Entry, Geometry, Rules
from errata.patches.points import Points, distances
from errata.patches.search import Search

CPU = torch.device("cpu")


def geometry_of(queries: Tensor, radius: float) -> Geometry:
    made = [Entry(str(n), query, query, (n,), radius) for n, query in enumerate(queries)]
    return fold(made, Rules(), queries.shape[1])


def brute_force(geometry: Geometry, states: Tensor) -> list[int]:
    """The row of the nearest key whose ball holds each state, -1 if none does."""
    found = []
    for state in states:
        away = distances(geometry.points.full, state)
        away[~(away <= geometry.radius)] = float("inf")
        found.append(int(away.argmin()) if away.isfinite().any() else -1)
    return found


def searched(geometry: Geometry, states: Tensor) -> list[int]:
    found = [-1] * len(states)
    if hits := Search(geometry, CPU).hits(states):
        for state, row in zip(hits.states.tolist(), hits.rows.tolist(), strict=True):
            found[state] = row
    return found


@pytest.mark.parametrize("width", [1, 16, 200])
@pytest.mark.parametrize("offset", [0.0, 30.0, 3000.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_it_finds_what_exact_distances_find(width: int, offset: float, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(width)
    queries = (torch.randn(50, width, generator=generator) + offset).to(dtype)
    radius = 0.5 * width**0.5
    geometry = geometry_of(queries, radius)
    # on the boundary of a ball, just inside, just outside, and anywhere
    direction = torch.nn.functional.normalize(torch.randn(50, width, generator=generator), dim=1)
    shift = torch.tensor([0.0, 1 - 1e-6, 1.0, 1 + 1e-6, 3.0]).repeat(10)[:, None] * geometry.radius[:, None]
    states = (geometry.points.full + direction * shift).to(dtype)
    expected = brute_force(geometry, states)
    assert searched(geometry, states) == expected
    assert any(row >= 0 for row in expected)
    one_by_one = [searched(geometry, state[None])[0] for state in states]
    assert one_by_one == expected


def test_many_states_are_looked_up_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("errata.patches.points._CELLS", 64)
    geometry = geometry_of(torch.arange(10.0)[:, None] * 10, 1.0)
    states = torch.tensor([[0.5], [5.0], [10.0], [91.0], [55.0], [60.9], [20.0]])
    assert searched(geometry, states) == [0, -1, 1, 9, -1, 6, 2]


def test_of_equally_near_keys_the_first_answers() -> None:
    entries = [Entry(str(n), torch.tensor([place]), torch.zeros(1), (n,), 1.0) for n, place in enumerate((0.0, 2.0))]
    geometry = fold(entries, Rules(), 1)
    assert searched(geometry, torch.tensor([[1.0]])) == [0]


def test_states_that_are_no_numbers_fire_nothing() -> None:
    geometry = geometry_of(torch.zeros(1, 4), 1.0)
    odd = torch.full((3, 4), float("nan"))
    odd[1] = float("inf")
    odd[2] = 0.0
    assert searched(geometry, odd) == [-1, -1, 0]
    assert searched(geometry, odd[:1]) == [-1]


def test_bounds_are_never_above_the_distance() -> None:
    generator = torch.Generator().manual_seed(0)
    points = Points(130)
    for row in torch.randn(70, 130, generator=generator) * 50 + 400:
        points.append(row)
    states = points.full + torch.randn(70, 130, generator=generator) * 1e-3
    exact = torch.stack([distances(points.full, state) for state in states]).square()
    assert (points.bounds(states) <= exact).all()
    for state, away in zip(states, exact, strict=True):
        rows, found = points.near(state, torch.full((70,), 1.0))
        assert rows.tolist() == (away <= 1).nonzero()[:, 0].tolist()
        assert torch.equal(found, away.sqrt()[rows]) or torch.allclose(found, away.sqrt()[rows])


def test_a_distance_is_the_same_bits_in_any_company() -> None:
    generator = torch.Generator().manual_seed(0)
    for width in (1, 3, 64, 769):
        points = torch.randn(120, width, generator=generator)
        whole = distances(points, points[7])
        for some in (slice(0, 1), slice(3, 20), slice(100, 120)):
            assert torch.equal(distances(points[some], points[7]), whole[some])


@pytest.mark.slow
def test_a_token_against_a_thousand_keys_costs_little() -> None:
    width = 256
    queries = torch.randn(1000, width) * 10
    made = [Entry(str(n), query, query, (n,), 1.0) for n, query in enumerate(queries)]
    patch = CodebookPatch(0, made, method="grace", config={}, edits=[entry.edit for entry in made])
    search, state = patch.search(CPU), torch.randn(1, width) * 10
    best = float("inf")
    for _ in range(50):
        start = time.perf_counter()
        for _ in range(20):
            search.hits(state)
        best = min(best, (time.perf_counter() - start) / 20)
    assert best < 60e-6
