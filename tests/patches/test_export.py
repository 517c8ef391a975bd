"""Exports: what PEFT and transformers load gives the patched model's logits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers as hf
from torch import Tensor

from errata.errors import CannotExport
from errata.models import EditableModel
from errata.patches.codebook import CodebookPatch, Entry
from errata.patches.deltas import Delta, Dense, LowRank, Rows
from errata.patches.export import export_lora, export_merged
from errata.patches.weights import WeightPatch, parameter_view
from tiny import tiny_model

AUTO: dict[str, Any] = {
    "causal": hf.AutoModelForCausalLM,
    "seq2seq": hf.AutoModelForSeq2SeqLM,
    "classification": hf.AutoModelForSequenceClassification,
}


def patch_of(deltas: dict[str, Delta], edit: str = "a") -> WeightPatch:
    return WeightPatch(deltas, method="rome", config={}, edits=[edit])


def patches_of(model: EditableModel) -> list[WeightPatch]:
    """Changes of every form, some on the same matrix, with different ranks."""
    generator = torch.Generator().manual_seed(0)
    last = len(model.arch) - 1
    one, two, three = (f"{model.arch.matrix(layer, 'mlp_down')}.weight" for layer in (0, 1, last))
    attention = f"{model.arch.matrix(1, 'attn_out')}.weight"

    def factors(name: str, rank: int) -> LowRank:
        rows, columns = parameter_view(model.model, name).shape
        return LowRank(
            torch.randn(rows, rank, generator=generator) / 10, torch.randn(rank, columns, generator=generator)
        )

    def dense(name: str) -> Dense:
        return Dense(torch.randn(parameter_view(model.model, name).shape, generator=generator) / 10)

    width = parameter_view(model.model, two).shape[1]
    rows = Rows(torch.tensor([4, 1]), torch.randn(2, width, generator=generator))
    return [
        patch_of({one: factors(one, 1), two: rows, attention: dense(attention)}, "a"),
        patch_of({one: factors(one, 3), two: factors(two, 1), three: dense(three)}, "b"),
        patch_of({three: factors(three, 2)}, "c"),
    ]


def logits(model: Any, batch: Any, inputs: dict[str, Any]) -> Tensor:
    with torch.no_grad():
        found = model(**inputs).logits
    return found[batch.gold != -100] if found.dim() == 3 else found


@pytest.mark.parametrize("arch", ["gpt2", "llama", "t5", "bert"])
def test_peft_loads_the_adapter_and_gives_the_same_logits(arch: str, tmp_path: Path) -> None:
    model = tiny_model(arch)
    patches = patches_of(model)
    answers = ["yes", "no"] if arch == "bert" else ["Rome", "Paris"]
    batch = model.encode(["The capital of Italy is", "The book"], answers)
    plain = logits(model.model, batch, model.inputs(batch))
    for patch in patches:
        patch.attach(model)
    expected = logits(model.model, batch, model.inputs(batch))
    assert not torch.allclose(plain, expected, atol=1e-2)
    export_lora(model, patches, tmp_path / "adapter")
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["adapter_config.json", "adapter_model.safetensors"]
    base = tiny_model(arch)
    loaded = peft.PeftModel.from_pretrained(base.model, tmp_path / "adapter").eval()
    found = logits(loaded, batch, base.inputs(batch))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    adapted = {name for name, module in loaded.named_modules() if name.endswith("lora_A.default")}
    assert len(adapted) == 4


def test_low_rank_changes_keep_their_rank(tmp_path: Path) -> None:
    model = tiny_model("llama")
    export_lora(model, patches_of(model), tmp_path / "adapter")
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    ranks = {name: config["rank_pattern"].get(name, config["r"]) for name in config["target_modules"]}
    assert ranks == {
        "model.layers.0.mlp.down_proj": 4,
        "model.layers.1.mlp.down_proj": 3,
        "model.layers.1.self_attn.o_proj": 32,
        "model.layers.3.mlp.down_proj": 32,
    }
    assert config["alpha_pattern"] == config["rank_pattern"]
    assert config["lora_alpha"] == config["r"]
    assert config["fan_in_fan_out"] is False


@pytest.mark.parametrize("arch", ["gpt2", "t5", "bert"])
def test_transformers_loads_the_merged_model_with_equal_logits(arch: str, tmp_path: Path) -> None:
    model = tiny_model(arch)
    before = {name: tensor.clone() for name, tensor in model.model.state_dict().items()}
    first, second, third = patches_of(model)
    first.attach(model)
    third.attach(model)
    export_merged(model, [first, second], tmp_path / "merged")  # one more than attached, and one less
    batch = model.encode(["The capital of Italy is"], ["yes" if arch == "bert" else "Rome"])
    loaded = AUTO[model.task].from_pretrained(tmp_path / "merged").eval()
    found = logits(loaded, batch, model.inputs(batch))
    assert not second.attached
    third.detach(model)
    second.attach(model)
    assert torch.equal(found, logits(model.model, batch, model.inputs(batch)))
    first.detach(model)
    second.detach(model)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.model.state_dict().items())
    tokenizer = hf.AutoTokenizer.from_pretrained(tmp_path / "merged")
    assert tokenizer("Paris").input_ids == model.tokenizer("Paris").input_ids


def test_a_codebook_is_exported_neither_way(tmp_path: Path) -> None:
    model = tiny_model("gpt2")
    entry = Entry("a", torch.zeros(model.width), torch.zeros(model.width), (1,), 1.0)
    codebook = CodebookPatch(1, [entry], method="grace", config={}, edits=["a"])
    for export in (export_lora, export_merged):
        with pytest.raises(CannotExport, match="undo its edits"):
            export(model, [*patches_of(model), codebook], tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "delta"),
    [
        ("transformer.ln_f.weight", Dense(torch.ones(32))),
        ("transformer.h.0.mlp.c_proj.bias", Dense(torch.ones(32))),
        ("transformer.wpe.weight", Rows(torch.tensor([1]), torch.ones(1, 32))),
        ("lm_head.weight", Rows(torch.tensor([1]), torch.ones(1, 32))),
    ],
)
def test_what_lora_cannot_express_is_left_to_a_merge(name: str, delta: Delta, tmp_path: Path) -> None:
    model = tiny_model("gpt2")
    patch = patch_of({name: delta})
    with pytest.raises(CannotExport, match="merged"):
        export_lora(model, [patch], tmp_path / "adapter")
    export_merged(model, [patch], tmp_path / "merged")
    assert (tmp_path / "merged" / "config.json").exists()


def test_nothing_is_overwritten_and_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("gpt2")
    patches = patches_of(model)
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "notes.txt").write_text("mine")
    for export in (export_lora, export_merged):
        with pytest.raises(CannotExport, match="not an empty directory"):
            export(model, patches, taken)
    assert (taken / "notes.txt").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    export_lora(model, patches, tmp_path / "empty")
    assert (tmp_path / "empty" / "adapter_config.json").exists()
    with pytest.raises(CannotExport, match="no weight change"):
        export_lora(model, [], tmp_path / "none")

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(model.tokenizer), "save_pretrained", fail)
    before = parameter_view(model.model, next(iter(patches[0].deltas))).clone()
    with pytest.raises(CannotExport, match="No space"):
        export_merged(model, patches, tmp_path / "merged")
    assert torch.equal(parameter_view(model.model, next(iter(patches[0].deltas))), before)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "taken"]
