"""What is learned of wordings: metrics, radii and their bounds, on states made by hand."""

from __future__ import annotations

import pytest
import torch

from errata.patches.metric import Metric
from errata.statistics.discriminant import discriminant
from errata.statistics.phrasings import Fact
from errata.statistics.separation import CLEAR, safe, separation, uncalibrated

PLAIN = Metric(torch.eye(1))


def clouds(facts: int, wordings: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Facts lie apart along the first coordinate; wordings scatter along the second, five times as far."""
    generator = torch.Generator().manual_seed(seed)
    number = torch.arange(facts).repeat_interleave(wordings)
    noise = torch.randn(len(number), 2, generator=generator) * torch.tensor([0.1, 50.0])
    centres = torch.stack([torch.randn(facts, generator=generator) * 10, torch.zeros(facts)], 1)
    return centres[number] + noise, number


def test_a_metric_looks_along_what_tells_facts_apart() -> None:
    states, number = clouds(300, 5)
    matrix = discriminant(states, number).matrix
    assert matrix.shape == (1, 2)  # the second coordinate tells nothing
    assert abs(float(matrix[0, 0])) > 10 * abs(float(matrix[0, 1]))


def test_the_radius_catches_own_wordings_and_leaves_foreign_ones() -> None:
    # Ten facts ten apart, wordings 0, 1 and 2 away from them; the facts learned on are far off.
    places = [10.0 * fact + wording for fact in range(20) for wording in (0.0, 1.0, 2.0)]
    states = torch.tensor(places)[:, None]
    learned = torch.arange(60) < 30
    states[learned] -= 1000.0
    facts = [Fact(None, ("a", "b", "c")) for _ in range(10)]
    found = separation(3, PLAIN, states, learned, facts, torch.empty(0, 1))
    assert found.own.tolist() == [1.0] * 30
    assert set(found.foreign.tolist()) == {8.0, 9.0, 10.0}
    assert found.radius == 1.0
    assert (found.caught, found.summary()["foreign"], found.layer, found.facts) == (1.0, 0.0, 3, 10)


def test_text_and_related_facts_bound_the_radius() -> None:
    states = torch.tensor([[0.0], [4.0], [10.0], [14.0], [-900.0], [-900.0]])
    learned = torch.tensor([False] * 4 + [True] * 2)
    facts = [Fact("Rome", ("a", "b")), Fact("Rome", ("c", "d"))]
    free = separation(0, PLAIN, states, learned, facts, torch.empty(0, 1))
    assert (free.radius, free.caught) == (4.0, 1.0)
    assert sorted(free.related.tolist()) == [6.0, 6.0, 10.0, 10.0]
    held = separation(0, PLAIN, states, learned, facts, torch.tensor([[3.0]]))
    assert held.text.tolist() == [1.0]
    assert (held.radius, held.caught) == (0.0, 0.0)


def test_no_key_reaches_a_background_state() -> None:
    states = torch.tensor([[0.0], [2.0], [100.0], [102.0], [1.0], [500.0]])
    learned = torch.tensor([False] * 4 + [True] * 2)
    found = separation(0, PLAIN, states, learned, [Fact(None, ("a", "b"))] * 2, torch.empty(0, 1))
    # Keys at 0 and 2 end at CLEAR of the way to the state at 1: neither catches the other.
    assert found.own.tolist() == [float("inf"), float("inf"), 2.0, 2.0]
    radii = found.radii(torch.tensor([[50.0], [1.5], [1.0], [1.0]]))
    assert radii.tolist() == pytest.approx([2.0, CLEAR * 0.5, 0.02, 0.02])
    # Background that asks the very same is no obstacle.
    assert found.radii(torch.tensor([[1.0]]), [0, 1, 4]).tolist() == [2.0]


def test_without_calibration_there_is_a_small_radius_and_a_reason() -> None:
    found = safe(2, torch.full((3, 4), 10.0), 3, "too few")
    assert (found.radius, found.warning, found.metric) == (pytest.approx(1.0), "too few", None)
    assert uncalibrated(1, 4, 0.5).radii(torch.zeros(2, 4)).tolist() == [0.5, 0.5]
    assert found.summary()["own_distance"] is None
