"""The Backpack's recipe: lab:gpt's with another architecture, which learns, and is small enough to carry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from small_world import VOCABULARY, shrink

from errata.lab import recipes
from errata.lab.recipes.backpack import Recipe, Training, build
from errata.lab.recipes.gpt import Phase
from errata.models import EditableModel
from errata.models.backpack.modeling import BackpackForCausalLM

TINY = Recipe(
    blocks=2, width=16, heads=2, inner=32, senses=4, vocabulary=VOCABULARY, context=256,
    phases=(Phase(100),), sentences=8, prose_rows=1, microbatches=2, warmup=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Training]:
    """One run for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        yield Training(TINY, tmp_path_factory.mktemp("run"))


def test_it_is_a_recipe_by_name() -> None:
    assert "backpack" in recipes.names()


def test_every_matrix_of_the_senses_and_the_trunk_is_muons(training: Training) -> None:
    muon, adam = ({id(p) for p in one.param_groups[0]["params"]} for one in training.optimizers)
    named = dict(training.model.named_parameters())
    inside = {name for name, p in named.items() if p.ndim == 2 and (".h." in name or ".senses." in name)}
    assert {name for name, p in named.items() if id(p) in muon} == inside
    assert len(inside) == 2 * 4 + 4
    assert {name for name, p in named.items() if id(p) in adam} == named.keys() - inside


def test_it_learns_and_its_export_is_an_ordinary_checkpoint(training: Training, tmp_path: Path) -> None:
    losses = [training.one_step() for _ in range(30)]
    assert all(losses[-1][name] < losses[0][name] - 0.1 for name in ("answers", "prose"))
    training.export(tmp_path)
    model = EditableModel.load(str(tmp_path), device="cpu")
    assert isinstance(model.model, BackpackForCausalLM)
    assert model.dtype == torch.float32
    assert model.model.generation_config.eos_token_id == model.tokenizer.eos_token_id
    state = training.model.state_dict()
    assert all(torch.equal(tensor, state[name].half().float()) for name, tensor in model.model.state_dict().items())


def test_its_size(training: Training) -> None:
    with torch.device("meta"):
        model = build(Recipe(), training.tokenizer)
    numbers = sum(parameter.numel() for parameter in model.parameters())
    assert 6e6 < numbers < 7.6e6
    assert 2 * numbers + 0.6e6 < 16e6, "bytes of float16 weights and of the tokenizer"
    assert model.config.n_positions == 512
