"""Main directions of a summed gradient, against the decomposition of the sum itself."""

from __future__ import annotations

import pytest
import torch

from errata.learn.directions import main_directions


def factors(count: int = 6, d_in: int = 9, d_out: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    drawn = torch.Generator().manual_seed(0)
    x = torch.randn(count, d_in, generator=drawn) + 0.5
    return x, torch.randn(count, d_out, generator=drawn) * torch.logspace(0, -3, count)[:, None]


@pytest.mark.parametrize("count", [1, 3, 6, 40])
def test_all_directions_make_the_whole_sum(count: int):
    x, g = factors(count)
    v, u = main_directions(x, g, energy=1.0)
    assert len(v) == len(u) == min(count, 5)
    torch.testing.assert_close(u.T @ v, g.T @ x, atol=1e-5, rtol=1e-4)


def test_terms_are_singular_pairs_scaled_by_the_root():
    x, g = factors()
    v, u = main_directions(x, g, energy=1.0)
    strengths = torch.linalg.svdvals(g.T @ x)
    torch.testing.assert_close(v.norm(dim=1).square(), strengths, atol=1e-5, rtol=1e-3)
    torch.testing.assert_close(u.norm(dim=1).square(), strengths, atol=1e-5, rtol=1e-3)
    cosines = torch.nn.functional.normalize(v) @ torch.nn.functional.normalize(v).T
    torch.testing.assert_close(cosines, torch.eye(5), atol=1e-4, rtol=0)


def test_the_rank_is_the_least_that_holds_the_energy():
    x, g = torch.eye(3), torch.diag(torch.tensor([3.0, 2.0, 1.0]))  # energies 9, 4, 1 of 14
    ranks = {energy: len(main_directions(x, g, energy=energy)[0]) for energy in (0.5, 9.0 / 14, 0.7, 0.92, 0.95, 1.0)}
    assert ranks == {0.5: 1, 9.0 / 14: 1, 0.7: 2, 0.92: 2, 0.95: 3, 1.0: 3}


def test_signs_depend_on_the_inputs_alone_and_not_on_the_order_of_tokens():
    x, g = factors()
    v, u = main_directions(x, g, energy=1.0)
    assert (v @ x.mean(0) > 0).all()
    turned = torch.tensor([5, 0, 3, 1, 4, 2])
    again_v, again_u = main_directions(x[turned], g[turned], energy=1.0)
    torch.testing.assert_close(again_v, v, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(again_u, u, atol=1e-4, rtol=1e-3)
    flipped_v, flipped_u = main_directions(x, -g, energy=1.0)
    torch.testing.assert_close(flipped_v, v, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(flipped_u, -u, atol=1e-4, rtol=1e-3)


def test_where_the_mean_says_nothing_the_largest_entry_is_positive():
    x = torch.tensor([[1.0, -3.0], [-1.0, 3.0]])
    v, _ = main_directions(x, torch.tensor([[1.0], [2.0]]), energy=1.0)
    assert float(v[0, 1]) > 0 > float(v[0, 0])


def test_no_gradient_leaves_nothing_to_do():
    v, u = main_directions(torch.ones(2, 3), torch.zeros(2, 4), energy=0.9)
    assert (v.shape, u.shape) == ((1, 3), (1, 4))
    assert not u.any()
    v, u = main_directions(torch.ones(0, 3), torch.zeros(0, 4), energy=0.9)
    assert (v.shape, u.shape) == ((0, 3), (0, 4))
