"""Forms of a change: which is the smallest, that it is kept exactly, and what is no change."""

from __future__ import annotations

import pytest
import torch

from errata.errors import BadPatch
from errata.patches.deltas import Dense, LowRank, Rows, smallest


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_changes_that_are_not_finite_are_refused(bad: float) -> None:
    with pytest.raises(BadPatch, match="NaN or infinite"):
        Dense(torch.tensor([1.0, bad]))
    with pytest.raises(BadPatch, match="NaN or infinite"):
        LowRank(torch.tensor([[bad]]), torch.ones(1, 1))
    with pytest.raises(BadPatch, match="NaN or infinite"):
        smallest(torch.zeros(8, 8), torch.full((8, 8), bad))


def test_malformed_changes_are_refused() -> None:
    with pytest.raises(BadPatch, match="factors"):
        LowRank(torch.ones(3, 2), torch.ones(1, 3))
    with pytest.raises(BadPatch, match="different"):
        Rows(torch.tensor([1, 1]), torch.ones(2, 3))
    with pytest.raises(BadPatch, match="not negative"):
        Rows(torch.tensor([-1]), torch.ones(1, 3))
    with pytest.raises(BadPatch, match="index and values"):
        Rows(torch.tensor([1]), torch.ones(2, 3))


def test_a_change_does_not_follow_the_tensor_it_was_given() -> None:
    given = torch.ones(3)
    delta = Dense(given)
    given.zero_()
    assert delta.values.tolist() == [1, 1, 1]


def test_the_smallest_form_is_chosen_and_gives_the_same_weights() -> None:
    generator = torch.Generator().manual_seed(0)
    before = torch.randn(40, 60, generator=generator)
    rank_two = before + torch.randn(40, 2, generator=generator) @ torch.randn(2, 60, generator=generator) / 5
    some_rows = before.clone()
    some_rows[[3, 17, 20]] += torch.randn(3, 60, generator=generator)
    everywhere = before + torch.randn(40, 60, generator=generator)
    for after, form in ((rank_two, LowRank), (some_rows, Rows), (everywhere, Dense)):
        delta = smallest(before, after)
        assert type(delta) is form
        total = before.clone()
        delta.add_to(total)
        torch.testing.assert_close(total, after, atol=1e-5, rtol=0)
    delta = smallest(before, rank_two)
    assert isinstance(delta, LowRank)
    assert delta.B.shape == (40, 2)
    assert smallest(before, before.clone()) is None
    one_entry = torch.zeros(9)
    one_entry[4] = 1
    assert isinstance(smallest(torch.zeros(9), one_entry), Rows)
    assert isinstance(smallest(torch.tensor(1.0), torch.tensor(2.0)), Dense)


def test_a_half_precision_difference_is_kept_exactly() -> None:
    generator = torch.Generator().manual_seed(0)
    before = torch.randn(40, 60, generator=generator).bfloat16()
    after = (before + torch.randn(40, 1, generator=generator) @ torch.randn(1, 60, generator=generator)).bfloat16()
    delta = smallest(before, after)
    assert delta is not None
    total = before.float()
    delta.add_to(total)
    assert torch.equal(total.bfloat16(), after)
