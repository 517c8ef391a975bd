"""Losses, against values worked out by hand."""

import math

import pytest
import torch

from errata.models.losses import margin, target_loss

# Two ids. A logit gap g in favour of the gold id costs log(1 + exp(-g)).
GAP_3 = math.log(1 + 1 / 3)  # gap log 3: probability 3/4


def example() -> tuple[torch.Tensor, torch.Tensor]:
    three = math.log(3)
    logits = torch.tensor(
        [
            [[9.0, -9.0], [three, 0.0], [0.0, 0.0]],  # gold 0, then 1: gaps log 3 and 0
            [[0.0, three], [5.0, 5.0], [7.0, 1.0]],  # gold 0 at the first position alone: gap -log 3
            [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]],  # nothing scored
        ]
    )
    return logits, torch.tensor([[-100, 0, 1], [0, -100, -100], [-100, -100, -100]])


def test_target_loss_is_a_mean_over_each_rows_scored_positions() -> None:
    loss = target_loss(*example())
    assert loss.tolist() == pytest.approx([(GAP_3 + math.log(2)) / 2, math.log(4), 0.0])


def test_margin_is_the_smallest_lead() -> None:
    assert margin(*example()).tolist() == pytest.approx([0.0, -math.log(3), math.inf])


def test_margin_compares_with_the_best_other() -> None:
    logits = torch.tensor([[[1.0, 4.0, 2.5]]])
    assert margin(logits, torch.tensor([[1]])).tolist() == [1.5]
    assert margin(logits, torch.tensor([[2]])).tolist() == [-1.5]


def test_logits_of_the_last_positions_meet_the_last_columns() -> None:
    logits, gold = example()
    gold[1, 0] = -100
    assert torch.equal(target_loss(logits[:, -2:], gold), target_loss(logits, gold))
    assert torch.equal(margin(logits[:, -2:], gold), margin(logits, gold))


def test_gradient_of_the_loss() -> None:
    """d loss / d logits is probability minus one-hot, over the row's count of scored positions; else 0."""
    logits, gold = example()
    logits.requires_grad_()
    target_loss(logits, gold).sum().backward()
    expected = torch.zeros(3, 3, 2)
    expected[0, 1] = torch.tensor([-0.125, 0.125])
    expected[0, 2] = torch.tensor([0.25, -0.25])
    expected[1, 0] = torch.tensor([-0.75, 0.75])
    torch.testing.assert_close(logits.grad, expected)


def test_half_precision_logits_give_float32() -> None:
    logits, gold = example()
    for figure in (target_loss, margin):
        assert figure(logits.to(torch.bfloat16), gold).dtype == torch.float32
