"""The blocks that "auto" stands for: by evidence, once for each model, whatever patches are on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from errata.errors import BadConfig
from errata.locate import choose
from errata.locate.choose import auto_layers
from errata.locate.facts import Fact
from errata.locate.study import Study
from errata.models import EditableModel
from errata.patches.weights import Dense, WeightPatch
from tiny import tiny_model

FACTS = [Fact("The capital of Angola is", "Angola", "Luanda"), Fact("The capital of France is", "France", "Paris")]


@pytest.fixture(scope="module")
def lab() -> EditableModel:
    return EditableModel.load("lab:gpt")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ERRATA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def counting(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[Fact]]:
    """The facts of every study made from now on."""
    calls: list[Sequence[Fact]] = []
    real = choose.study

    def spy(model: EditableModel, facts: Sequence[Fact], **options: object) -> Study:
        calls.append(facts)
        return real(model, facts, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(choose, "study", spy)
    return calls


def test_the_blocks_with_the_largest_effect(lab: EditableModel) -> None:
    choice = auto_layers(lab, by="state", n=2, facts=FACTS)
    mean = choice.effect.mean
    assert len(mean) == len(lab.arch)
    assert choice.effect.n == 2
    sums = [mean[start] + mean[start + 1] for start in range(len(mean) - 1)]
    assert choice.layers == [sums.index(max(sums)), sums.index(max(sums)) + 1]
    assert choice.total > 0.2
    assert max(choice.layers) < len(lab.arch) - 1, "a subject is composed below the top"


def test_a_model_is_traced_once(lab: EditableModel, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = counting(monkeypatch)
    first = auto_layers(lab, facts=FACTS)
    assert auto_layers(lab, facts=FACTS[::-1]) == first
    assert len(auto_layers(lab, n=3, facts=FACTS).layers) == 3
    assert len(calls) == 1
    auto_layers(lab, by="state", facts=FACTS)
    assert len(calls) == 2


def test_patches_on_the_model_do_not_count(lab: EditableModel, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = counting(monkeypatch)
    first = auto_layers(lab, facts=FACTS)
    name = f"{lab.arch.matrix(0, 'mlp_down')}.weight"
    patch = WeightPatch({name: Dense(torch.ones(lab.width, 1280))}, method="ft", config={}, edits=["e1"])
    patch.attach(lab)
    try:
        edited = lab.fingerprint()
        assert auto_layers(lab, facts=FACTS) == first
        assert auto_layers(lab, facts=FACTS, seed=1).effect != first.effect
        assert lab.fingerprint() == edited
    finally:
        patch.detach(lab)
    assert len(calls) == 2
    assert auto_layers(lab, facts=FACTS, seed=1)
    assert len(calls) == 2, "what was found with a patch on is the model's own"


def test_a_lab_model_has_facts_of_its_own(lab: EditableModel) -> None:
    choice = auto_layers(lab, most=3)
    assert (choice.source, choice.effect.n) == ("lab-facts", 3)


def test_what_cannot_be_chosen(lab: EditableModel) -> None:
    with pytest.raises(BadConfig, match="'n' is 9; the model has 8 blocks"):
        auto_layers(lab, n=9)
    with pytest.raises(BadConfig, match="'by' is 'attention'"):
        auto_layers(lab, by="attention")  # type: ignore[arg-type]
    with pytest.raises(BadConfig, match="is a classifier"):
        auto_layers(tiny_model("bert"), facts=FACTS)
