"""MEND's network by hand: statistics, the identity at the start, descent, sharing by shape, and what can learn."""

from __future__ import annotations

import math

import pytest
import torch

from errata.learn.hypernetwork import FLOOR, Hypernetwork, Layer, Site, Statistics

UP, DOWN, OTHER = Site("a", 3, 2, 0.5), Site("b", 2, 3, 1.0), Site("c", 3, 2, 2.0)


def network(*sites: Site, relu: str = "all", step: float = 0.1) -> Hypernetwork:
    return Hypernetwork(sites, rank=4, step=step, relu=relu, seed=0)


def rows(count: int, size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed))


def test_statistics_are_those_of_all_rows_however_they_come():
    seen, parts = rows(50, 4) * 3 + 1, Statistics(4)
    for part in seen.split([1, 1, 7, 0, 41]):
        parts.add(part)
    assert float(parts.count) == 50
    torch.testing.assert_close(parts.mean.float(), seen.mean(0))
    expected = (seen - seen.mean(0)) / seen.std(0)
    torch.testing.assert_close(parts.normalised(seen), expected, atol=1e-4, rtol=1e-4)


def test_a_dimension_that_never_moved_cannot_explode():
    seen = rows(50, 4)
    seen[:, 2] = 0
    statistics = Statistics(4)
    statistics.add(seen)
    one = torch.zeros(1, 4)
    one[0, 2] = 1.0
    deviation = seen.double().std(0)
    least = FLOOR * float(deviation.square().mean().sqrt())
    assert float(statistics.normalised(one)[0, 2]) == pytest.approx(1 / least, rel=1e-4)


def test_statistics_are_frozen_outside_training():
    net = network(UP)
    net.observe(0, rows(9, 2), rows(9, 3))
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    net.eval()
    net.observe(0, rows(5, 2, 1), rows(5, 3, 1))
    net(0, rows(5, 2, 1), rows(5, 3, 1))
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_at_the_start_it_is_a_normalised_gradient_descent_step():
    net = network(UP, step=0.1)
    x, g = rows(20, 2) * 5 + 1, rows(20, 3, 1) * 0.01
    net.observe(0, x, g)
    B, A = net(0, x[:4], g[:4])
    expected_x, expected_g = (x[:4] - x.mean(0)) / x.std(0), (g[:4] - g.mean(0)) / g.std(0)
    torch.testing.assert_close(A, expected_x, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(B, -0.1 * 0.5 * expected_g.T, atol=1e-4, rtol=1e-4)
    # Moving along it lowers a loss whose gradient by the matrix is the sum over tokens of g x^T.
    assert ((B @ A) * (expected_g.T @ expected_x)).sum() < 0


def test_a_layer_is_z_plus_the_relu_and_learns_from_the_first_step():
    layer = Layer(5, 4, 2, True, torch.Generator().manual_seed(0))
    z = rows(3, 5)
    out = layer(z, 0)
    assert torch.equal(out, z)
    out.sum().backward()
    assert layer.A.grad is not None
    assert layer.A.grad.abs().sum() > 0  # a usual relu has slope zero at zero: nothing would ever move
    assert layer.shift.grad is not None
    assert layer.shift.grad[0].eq(3).all()
    assert layer.shift.grad[1].eq(0).all()
    with torch.no_grad():
        layer.shift[0, 0], layer.shift[0, 1] = 2.0, -2.0
    assert torch.equal(layer(z, 0), z + torch.tensor([2.0, 0, 0, 0, 0]))


@pytest.mark.parametrize(("relu", "least"), [("all", 0.0), ("inner", -2.0)])
def test_the_last_layer_takes_away_only_without_its_relu(relu: str, least: float):
    net = network(UP, relu=relu)
    last = net.nets[UP.shape][1]
    with torch.no_grad():
        last.shift[0, 0] = -2.0
    x, g = rows(3, 2), rows(3, 3, 1)
    _, A = net(0, x, g)
    torch.testing.assert_close(A[:, 0], x[:, 0] + least)


def test_matrices_of_one_shape_share_a_network_but_not_statistics_scales_or_steps():
    net = network(UP, DOWN, OTHER)
    assert list(net.nets) == ["3x2", "2x3"]
    assert net.nets["3x2"][0].scale.shape == (2, 5)
    assert net.nets["2x3"][0].scale.shape == (1, 5)
    net.observe(0, rows(9, 2), rows(9, 3))
    x, g = rows(2, 2, 5), rows(2, 3, 6)
    (B, A), (other_B, other_A) = net(0, x, g), net(2, x, g)
    assert not torch.equal(A, other_A)
    assert torch.equal(other_A, x)  # nothing was seen of it
    torch.testing.assert_close(other_B, -0.1 * 2.0 * g.T)
    assert B.shape == (3, 2)


def test_step_sizes_learn_at_a_rate_of_their_own():
    net = network(UP, step=0.1)
    optimizer = torch.optim.Adam(net.groups(1e-6, 0.05))
    counted = [one for group in optimizer.param_groups for one in group["params"]]
    assert len({id(one) for one in counted}) == len(counted) == len(list(net.parameters()))
    B, A = net(0, rows(3, 2), rows(3, 3, 1))
    (B @ A).square().sum().backward()
    optimizer.step()
    assert net.steps() == {"a": pytest.approx(0.1 * math.exp(-0.05), rel=1e-3)}
    assert net.nets["3x2"][0].A.abs().max() <= 1.1e-6


def test_set_apart_an_edit_does_not_move_what_is_ordinary():
    """Inputs of edits are ordinary ones plus a little of a rare direction: the update must go by the latter."""
    ordinary = torch.randn(400, 3, generator=torch.Generator().manual_seed(1)) * torch.tensor([5.0, 5.0, 0.1])
    edits = torch.tensor([[4.0, -4.0, 1.0], [-4.0, 4.0, -1.1], [4.0, 4.0, -0.9], [-4.0, -4.0, 1.0]])
    g = torch.ones(4, 2) * torch.tensor([[1.0], [-1.0], [2.0], [-2.0]])
    moved = {}
    for apart in (False, True):
        net = Hypernetwork([DOWN], rank=4, step=1.0, relu="all", seed=0, apart=apart)
        net.observe(0, edits, g)
        if apart:
            net.set_apart(0, ordinary.T @ ordinary / 400, 1e-3, edits)
        B, A = net(0, edits[:1], g[:1])
        change = (B @ A).detach()
        moved[apart] = float((change @ ordinary.T).norm() / 20), float((change @ edits[0]).norm())
        # However inputs are read, what the matrix writes for the inputs of edits changes as much.
        _, read = net(0, edits, g)
        expected = (net.inputs[0].normalised(edits) * edits).sum()
        torch.testing.assert_close((read * edits).sum(), expected, atol=0, rtol=1e-4)
    assert moved[True][0] / moved[True][1] < 0.5 * moved[False][0] / moved[False][1]
    assert set(net.state_dict()) - set(network(DOWN).state_dict()) == {"reader0"}


def test_the_seed_alone_draws_it():
    first = network(UP)
    torch.manual_seed(6)
    second, third = network(UP), Hypernetwork([UP], rank=4, step=0.1, relu="all", seed=1)
    assert torch.equal(first.nets["3x2"][0].B, second.nets["3x2"][0].B)
    assert not torch.equal(first.nets["3x2"][0].B, third.nets["3x2"][0].B)
