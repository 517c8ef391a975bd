"""What every method that trains an editor does alike while it trains."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from contract.marks import marks
from contract.steerable import TRAINING, lessons_for, steerable
from errata.methods._base import create
from errata.methods._learned import LearnedMethod


@pytest.mark.parametrize(("name", "matrices"), [("enn", "matrices"), ("mend", "sites")])
def test_training_leaves_no_mark_and_the_same_seed_the_same_editor(name: str, matrices: str, tmp_path: Path):
    method = create(name, {"steps": 4, "every": 2, "batch": 4, "lr": TRAINING["lr"]})
    assert isinstance(method, LearnedMethod)
    model = steerable("gpt2")
    model.model.train()
    before = marks(model)
    first = method.train(model, lessons_for("gpt2"), tmp_path / "a")
    assert marks(model) == before
    torch.manual_seed(7)
    second = method.train(steerable("gpt2"), lessons_for("gpt2"), tmp_path / "b")
    assert first.tensors.keys() == second.tensors.keys()
    assert all(torch.equal(first.tensors[name], second.tensors[name]) for name in first.tensors)
    assert not (tmp_path / "a" / "checkpoint.safetensors").exists()
    assert first.facts["steps"] == 4
    assert len(first.facts[matrices]) == len(first.facts["step_sizes"]) == 6
