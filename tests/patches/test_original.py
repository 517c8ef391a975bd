"""A look below the patches leaves bits and patches as they were."""

from __future__ import annotations

import pytest
import torch

from errata.models import EditableModel
from errata.patches.base import in_force
from errata.patches.original import patches_off
from errata.patches.weights import LowRank, WeightPatch, parameter_view
from tiny import tiny_model


def patch(model: EditableModel, name: str, method: str, scale: float) -> WeightPatch:
    rows, columns = parameter_view(model.model, name).shape
    delta = LowRank(torch.full((rows, 1), scale), torch.ones(1, columns))
    return WeightPatch({name: delta}, method=method, config={}, edits=[method])


def _fail_inside(model: EditableModel, view: torch.Tensor, expected: torch.Tensor) -> None:
    with patches_off(model, lambda one: one.method == "two"):
        assert torch.equal(view, expected)
        raise RuntimeError("stop")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_all_or_some_patches_are_off_inside(dtype: torch.dtype) -> None:
    model = tiny_model("gpt2")
    model.model.to(dtype)
    name = f"{model.arch.matrix(1, 'mlp_down')}.weight"
    view = parameter_view(model.model, name)
    original = view.clone()
    first, second = patch(model, name, "one", 1.0), patch(model, name, "two", 0.25)
    first.attach(model)
    only = view.clone()
    second.attach(model)
    both = view.clone()
    with patches_off(model):
        assert torch.equal(view, original)
    assert torch.equal(view, both)
    with pytest.raises(RuntimeError, match="stop"):
        _fail_inside(model, view, only)
    assert torch.equal(view, both)
    assert in_force(model) == [first, second]
    first.detach(model)
    second.detach(model)
    assert torch.equal(view, original)
    assert in_force(model) == []
