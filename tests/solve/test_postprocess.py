"""RECT, PRUNE and SPHERE on matrices small enough to follow by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from errata.errors import BadConfig
from errata.solve.postprocess import main_directions, prune, prune_factors, rect, sphere


def matrix(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_rect_keeps_what_changes_most_relative_to_the_weight() -> None:
    weight = matrix([10.0, 1.0], [-2.0, 0.5])
    delta = matrix([5.0, 0.3], [0.8, -1.0])  # relative: .5, .3, .4, 2
    assert torch.equal(rect(delta, weight, keep=0.5), matrix([5.0, 0.0], [0.0, -1.0]))
    assert torch.equal(rect(delta, weight, keep=0.75), matrix([5.0, 0.0], [0.8, -1.0]))


def test_rect_at_the_ends() -> None:
    weight, delta = noise(6, 5), noise(6, 5, seed=1)
    assert torch.equal(rect(delta, weight, keep=1.0), delta)
    assert not rect(delta, weight, keep=0.0).any()
    assert int((rect(delta, weight) != 0).sum()) == 12  # 40 % of 30


def test_rect_counts_a_zero_weight_as_changed_most() -> None:
    assert torch.equal(rect(matrix([1e-3, 1.0]), matrix([0.0, 1.0]), keep=0.5), matrix([1e-3, 0.0]))


def test_prune_draws_in_the_singular_values_above_the_weights_largest() -> None:
    weight = torch.diag(torch.tensor([2.0, 1.0, 0.5], dtype=torch.float64))
    delta = torch.diag(torch.tensor([2 * math.e, 1.5, 0.1], dtype=torch.float64))
    # ln(2e) - ln 2 + 2 = 3; with base 2, log2(e) + 2.
    assert torch.allclose(prune(delta, weight).diagonal(), torch.tensor([3.0, 1.5, 0.1], dtype=torch.float64))
    assert float(prune(delta, weight, base=2.0)[0, 0]) == pytest.approx(math.log2(math.e) + 2)


def test_prune_leaves_a_small_update_alone() -> None:
    delta = noise(4, 7) / 100
    assert torch.allclose(prune(delta, noise(4, 7, seed=1)), delta, atol=1e-14)


@pytest.mark.parametrize("shape", [(5, 9), (9, 5)])
def test_prune_by_factors_is_prune(shape: tuple[int, int]) -> None:
    B, A, weight = noise(shape[0], 3), noise(3, shape[1], seed=1), noise(*shape, seed=2) / 10
    left, right = prune_factors(B, A, weight)
    assert (left.shape, right.shape) == (B.shape, A.shape)
    assert torch.allclose(left @ right, prune(B @ A, weight), atol=1e-12)
    assert not torch.allclose(left @ right, B @ A)


def test_sphere_takes_half_of_what_lies_along_the_main_direction() -> None:
    # Unit rows (1, 0), (1, 0), (0, 1): the first axis holds two thirds of the trace, however long the rows are.
    weight = matrix([3.0, 0.0], [0.1, 0.0], [0.0, 50.0])
    assert torch.allclose(sphere(matrix([4.0, 6.0]), weight), matrix([2.0, 6.0]))
    assert torch.allclose(sphere(matrix([4.0, 6.0]), weight, strength=1.0), matrix([0.0, 6.0]))
    assert torch.allclose(sphere(matrix([4.0, 6.0]), weight, energy=0.9), matrix([2.0, 3.0]))


def test_sphere_on_a_factor_is_sphere_on_the_update() -> None:
    B, A, weight = noise(6, 2), noise(2, 10, seed=1), noise(6, 10, seed=2)
    assert torch.allclose(B @ sphere(A, weight), sphere(B @ A, weight))


@pytest.mark.parametrize("shape", [(6, 10), (10, 6)])
def test_main_directions_are_orthonormal_and_hold_the_energy(shape: tuple[int, int]) -> None:
    weight = noise(*shape)
    main = main_directions(weight, energy=0.6)
    unit = weight / weight.norm(dim=1, keepdim=True)
    gram = unit.T @ unit
    count = main.shape[1]
    assert torch.allclose(main.T @ main, torch.eye(count, dtype=torch.float64), atol=1e-10)
    values = torch.linalg.eigvalsh(gram).flip(0) / gram.trace()
    assert float(values[:count].sum()) >= 0.6 > float(values[: count - 1].sum())
    assert float((main.T @ gram @ main).trace() / gram.trace()) == pytest.approx(float(values[:count].sum()))


def test_an_even_share_is_held_by_as_many_as_it_takes() -> None:
    assert main_directions(torch.eye(4), energy=0.5).shape[1] == 2
    assert main_directions(torch.eye(4), energy=0.0).shape[1] == 0
    assert main_directions(torch.eye(4), energy=1.0).shape[1] == 4


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(BadConfig, match="does not fit"):
        rect(noise(2, 3), noise(3, 2))
    with pytest.raises(BadConfig, match="keep is a share"):
        rect(noise(2, 3), noise(2, 3), keep=1.5)
    with pytest.raises(BadConfig, match="above 1"):
        prune(noise(2, 3), noise(2, 3), base=1.0)
    with pytest.raises(BadConfig, match="do not fit"):
        prune_factors(noise(2, 1), noise(1, 3), noise(3, 2))
    with pytest.raises(BadConfig, match="rows of 4"):
        sphere(noise(2, 4), noise(2, 3))
