"""Statistics of a stream: merged they are those of the whole, and little is not mistaken for much."""

from __future__ import annotations

import pytest
import torch

from errata.solve.lifelong import Moments


def stream(n: int = 30, d: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    scale, centre = torch.tensor([1.0, 10.0, 0.1, 3.0, 1e3]), torch.tensor([0.0, 5.0, -2.0, 100.0, 1.0])
    return torch.randn(n, d, generator=generator) * scale + centre


@pytest.mark.parametrize("cuts", [(1, 2, 27), (30,), (10, 10, 10)])
def test_merged_parts_are_the_whole(cuts: tuple[int, ...]):
    rows = stream()
    whole = Moments.merged(Moments.of(part) for part in rows.split(list(cuts)))
    assert float(whole.count) == 30
    torch.testing.assert_close(whole.mean, rows.mean(0))
    torch.testing.assert_close(whole.m2, rows.var(0, correction=0) * 30, rtol=1e-4, atol=1e-4)


def test_a_part_that_is_left_out_leaves_no_trace():
    first, second, third = (Moments.of(part) for part in stream().split(10))
    left = Moments.merged([first, third])
    again = Moments.of(torch.cat([stream()[:10], stream()[20:]]))
    torch.testing.assert_close(left.mean, again.mean)
    torch.testing.assert_close(left.m2, again.m2, rtol=1e-4, atol=1e-4)
    assert float(Moments.merged([first, second, third]).mean[0]) != float(left.mean[0])


def test_a_large_mean_costs_no_precision():
    rows = torch.tensor([[100_001.0], [100_002.0], [100_003.0], [100_004.0]])
    merged = Moments.merged([Moments.of(rows[:1]), Moments.of(rows[1:])])
    assert float(merged.m2) == pytest.approx(5.0, rel=1e-3)  # a sum of squares less a square of sums gives 0


def test_published_rows_have_mean_zero_and_deviation_one():
    rows = stream()
    normal = Moments.of(rows).normalised(rows)
    torch.testing.assert_close(normal.mean(0), torch.zeros(5), atol=1e-4, rtol=0)
    torch.testing.assert_close(normal.std(0, correction=0), torch.ones(5), atol=1e-4, rtol=0)


def test_without_a_prior_a_first_row_says_nothing_and_two_say_signs():
    one, two = torch.tensor([[3.0, -4.0]]), torch.tensor([[3.0, -4.0], [5.0, -40.0]])
    assert torch.equal(Moments.of(one).normalised(one), torch.zeros(1, 2))
    torch.testing.assert_close(Moments.of(two).normalised(two), torch.tensor([[-1.0, 1.0], [1.0, -1.0]]))


def test_with_a_prior_a_first_row_keeps_its_direction():
    one = torch.tensor([[3.0, -4.0]])
    # 99 imagined rows of size 3.5: mean (0.03, -0.04), variance 12.25 * 0.99 + 0.01 * 0.99 * (9, 16)
    wanted = torch.tensor([[2.97 / (12.1275 + 0.0891) ** 0.5, -3.96 / (12.1275 + 0.1584) ** 0.5]])
    torch.testing.assert_close(Moments.of(one).normalised(one, prior=99.0), wanted)


def test_the_prior_fades_with_the_stream():
    generator = torch.Generator().manual_seed(0)
    whole = 20 + 10 * torch.randn(20_000, 1, generator=generator)
    apart = []
    for seen in (whole[:10], whole):
        without, beside = (Moments.of(seen).normalised(seen, prior) for prior in (0.0, 10.0))
        apart.append(float((without - beside).abs().max()))
    assert apart[0] > 0.1
    assert apart[1] < 0.02


def test_a_constant_coordinate_stays_finite():
    rows = torch.tensor([[1.0, 2.0], [1.0, 4.0]])
    assert Moments.of(rows).normalised(rows).isfinite().all()


def test_tensors_come_back_under_their_name():
    moments = Moments.of(stream())
    kept = moments.tensors("h.3") | Moments.of(stream() + 1).tensors("h.30")
    back = Moments.from_tensors(kept, "h.3")
    assert back is not None
    assert torch.equal(back.m2, moments.m2)
    assert float(back.count) == 30
    assert Moments.from_tensors(kept, "h.4") is None
