"""Values trained together are the values trained alone, and training stops where it should."""

from __future__ import annotations

import pytest
import torch

from errata.models import EditableModel
from errata.solve.values import Task, Trained, initial, train_values, typical

PROMPTS = ["The capital of France is", "Most people in Japan speak", "The currency of Kenya is the"]
TARGETS = ["Lyon", "Welsh", "Euro"]


@pytest.fixture(scope="module")
def lab() -> EditableModel:
    return EditableModel.load("lab:gpt")


def train(model: EditableModel, rows: list[int], groups: list[int] | None = None, **options: float) -> Trained:
    batch = model.encode([PROMPTS[row] for row in rows], [TARGETS[row] for row in rows])
    with model.preserved():
        prefix = model.prefix(batch, 2)
        states = prefix.hidden[torch.arange(len(rows)), batch.query]
        group = torch.tensor(groups or range(len(rows)))
        starts = torch.stack([states[groups.index(g) if groups else g] for g in sorted(set(group.tolist()))])
        scale = torch.stack([typical(start) for start in starts])
        return train_values(Task(prefix, group, starts, scale), **{"lr": 0.1, "steps": 60, "lead": 1.0, **options})


def test_together_equals_alone(lab: EditableModel):
    together = train(lab, [0, 1, 2])
    for row in range(3):
        alone = train(lab, [row])
        assert together.steps[row] == alone.steps[0]
        torch.testing.assert_close(together.values[row], alone.values[0], rtol=1e-3, atol=1e-2)


def test_it_stops_as_soon_as_the_target_leads(lab: EditableModel):
    trained = train(lab, [0, 1, 2])
    assert all(0 < steps < 60 for steps in trained.steps)
    assert min(trained.leads) >= 1.0
    far = train(lab, [0], lead=4.0)
    assert far.leads[0] >= 4.0
    assert far.steps[0] > trained.steps[0]


def test_out_of_steps_is_told_not_hidden(lab: EditableModel):
    trained = train(lab, [0], steps=1)
    assert trained.steps == [1]
    assert trained.leads[0] < 0


def test_rows_of_one_group_share_a_value(lab: EditableModel):
    trained = train(lab, [0, 2], groups=[0, 0], steps=3)
    assert trained.values.shape[0] == 1


def test_typical_is_not_misled_by_an_outlier():
    state = torch.randn(1000, generator=torch.Generator().manual_seed(0)) * 3
    state[0] = 1e6
    assert float(typical(state)) == pytest.approx(3, rel=0.15)


def test_cold_starts_are_seeded_and_in_the_unit_interval():
    state = torch.full((50,), 7.0)
    assert torch.equal(initial(state, "warm", 0), state)
    cold = initial(state, "cold", 1)
    assert torch.equal(cold, initial(state, "cold", 1))
    assert not torch.equal(cold, initial(state, "cold", 2))
    assert 0 <= float(cold.min()) < float(cold.max()) < 1


def test_values_at_several_places_lead_one_row_together(lab: EditableModel):
    batch = lab.encode(PROMPTS[:2], TARGETS[:2])
    counts = [len(ids) for ids in batch.target_ids]
    group = torch.full((2, max(counts)), -1)
    numbers = torch.arange(sum(counts)).split(counts)
    for row, own in enumerate(numbers):
        group[row, : len(own)] = own
    with lab.preserved():
        prefix = lab.prefix(batch, 6)
        places = zip(prefix.hidden, batch.query.tolist(), counts, strict=True)
        starts = torch.cat([states[query : query + count] for states, query, count in places])
        scale = torch.stack([typical(start) for start in starts])
        trained = train_values(Task(prefix, group, starts, scale), lr=0.1, steps=60, lead=1.0)
        assert min(trained.leads) >= 1.0
        assert not (trained.values == starts).all(1).any()  # every place was needed, or moved with the others
        hidden = prefix.hidden.clone()
        for row, own in enumerate(numbers):
            hidden[row, batch.query[row] : batch.query[row] + len(own)] = trained.values[own]
        logits = prefix.resume(hidden)
    assert batch.gold is not None
    scored = batch.gold != -100
    assert torch.equal(logits.argmax(-1)[scored], batch.gold[scored])
