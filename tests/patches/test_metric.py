"""A codebook under a metric: where it fires, what it keeps on disk, and what it may not be mixed with."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from errata.errors import BadPatch
from errata.models import EditableModel
from errata.models.hooks import capture
from errata.patches.codebook import CodebookPatch, Entry, Metric, Rules
from errata.patches.files import load_patch, save_patch
from tiny import tiny_model

PROMPT = "The capital of France is"
FIRST = torch.tensor([[2.0, 0.0, 0.0]])  # twice the first of three coordinates


def book(metric: Metric | None, *entries: Entry) -> CodebookPatch:
    ids = list(dict.fromkeys(entry.edit for entry in entries))
    return CodebookPatch(0, entries, method="chain", config={}, edits=ids, rules=Rules("separate"), metric=metric)


def entry(edit: str, place: float, label: int = 1, radius: float = 1.0) -> Entry:
    return Entry(edit, torch.tensor([place]), torch.full((3,), float(edit)), (label,), radius)


def test_states_are_compared_as_the_metric_sees_them() -> None:
    patch = book(Metric(FIRST), entry("1", 0.0), entry("2", 10.0))
    hit, key = patch.lookup(torch.tensor([[0.4, 99.0, -99.0], [0.6, 0.0, 0.0], [5.4, 1.0, 1.0]]))
    assert hit.tolist() == [True, False, True]  # .8, 1.2 and .8 away from the nearest key
    assert key.tolist() == [0, -1, 1]


def test_balls_overlap_and_a_state_belongs_to_the_nearest() -> None:
    patch = book(Metric(FIRST), entry("1", 0.0, label=1), entry("2", 1.0, label=2))
    assert patch.geometry.radii.tolist() == [1.0, 1.0]
    _, key = patch.lookup(torch.tensor([[0.2, 0.0, 0.0], [0.3, 0.0, 0.0], [0.9, 0.0, 0.0]]))
    assert key.tolist() == [0, 1, 1]


def test_a_newer_entry_at_the_very_point_takes_it_until_it_is_undone() -> None:
    patch = book(Metric(FIRST), entry("1", 0.0, label=1), entry("2", 0.0, label=2))
    assert patch.geometry.summary() == {"entries": 2, "keys": 1, "superseded": ["1"]}
    older = patch.without({"2"})
    assert isinstance(older, CodebookPatch)
    assert older.geometry.values.tolist() == [[1.0, 1.0, 1.0]]


def test_increments_go_together_under_one_metric_alone() -> None:
    first = book(Metric(FIRST), entry("1", 0.0))
    same = book(Metric(FIRST.clone()), entry("2", 5.0))
    other = book(Metric(FIRST * 3), entry("2", 5.0))
    assert first.slot == same.slot != other.slot
    joined = CodebookPatch.extended(first, same)
    assert joined.edits == ("1", "2")
    assert CodebookPatch.joined([first, same]).tensors().keys() == joined.tensors().keys()
    with pytest.raises(BadPatch, match="metric"):
        CodebookPatch.extended(first, other)


def test_widths_must_fit() -> None:
    with pytest.raises(BadPatch, match="wide"):
        book(None, entry("1", 0.0))
    with pytest.raises(BadPatch, match="metric"):
        Metric(torch.tensor([[float("nan")]]))


def test_on_a_model_and_on_disk(tmp_path: Path) -> None:
    model = tiny_model("gpt2")
    metric = Metric(torch.randn(4, model.width, generator=torch.Generator().manual_seed(0)))
    value = torch.ones(model.width) * 3
    query = metric.of(state_of(model))[0]
    near = 0.01 * float(query.norm())
    patch = CodebookPatch(
        1, [Entry("a", query, value, (5,), near, PROMPT)], method="chain", config={},
        edits=["a"], rules=Rules("separate"), metric=metric,
    )  # fmt: skip
    plain = logits(model)
    patch.attach(model)
    with patch.record() as fired:
        edited = logits(model)
    assert [(one.edit, one.position) for one in fired] == [("a", int(model.encode([PROMPT]).query))]
    assert fired[0].distance < near / 10
    assert not torch.equal(edited, plain)
    patch.detach(model)
    assert torch.equal(logits(model), plain)
    digest = save_patch(tmp_path / "one.safetensors", patch, {"name": "tiny", "fingerprint": "f"})
    loaded = load_patch(tmp_path / "one.safetensors", expect_sha256=digest, fingerprint="f")
    assert isinstance(loaded, CodebookPatch)
    assert (loaded.slot, loaded.size) == (patch.slot, patch.size)
    loaded.attach(model)
    assert torch.equal(logits(model), edited)


@torch.no_grad()
def state_of(model: EditableModel) -> torch.Tensor:
    batch = model.encode([PROMPT])
    path = model.arch.blocks[1]
    with capture(model.model, [path]) as seen:
        model.forward(batch)
    return seen[path][0][0, batch.query]


@torch.no_grad()
def logits(model: EditableModel) -> torch.Tensor:
    return model.forward(model.encode([PROMPT]))
