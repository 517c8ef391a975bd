"""Loading by name, and failing in one line."""

from pathlib import Path

import pytest
import torch
import transformers as hf

import errata.models.loading as loading
from errata.errors import BadModel
from errata.models import EditableModel
from tiny import tiny_model


def saved(model: EditableModel, folder: Path) -> str:
    model.model.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("name", ["gpt2", "t5", "bert"])
def test_a_directory_comes_back_as_it_was(name: str, tmp_path: Path) -> None:
    model = tiny_model(name)
    loaded = EditableModel.load(saved(model, tmp_path), device="cpu")
    assert (loaded.task, loaded.name) == (model.task, str(tmp_path))
    assert loaded.fingerprint() == model.fingerprint()
    assert not loaded.model.training
    prompts = ["The capital of France is", "Rome"]
    torch.testing.assert_close(loaded.forward(loaded.encode(prompts)), model.forward(model.encode(prompts)))


def test_dtype_is_the_stored_one_unless_told(tmp_path: Path) -> None:
    model = tiny_model("gpt2")
    model.model.bfloat16()
    name = saved(model, tmp_path)
    assert EditableModel.load(name, device="cpu").dtype == torch.bfloat16
    assert EditableModel.load(name, device="cpu", dtype=torch.float32).dtype == torch.float32
    assert EditableModel.load(name, device="cpu", dtype="float32").dtype == torch.float32


def test_a_tokenizer_without_pad_token_pads_with_its_end(tmp_path: Path) -> None:
    model = tiny_model("gpt2")
    model.tokenizer.pad_token = None
    model.model.config.pad_token_id = None
    loaded = EditableModel.load(saved(model, tmp_path), device="cpu")
    assert loaded.pad_id == loaded.tokenizer.pad_token_id == loaded.tokenizer.eos_token_id
    assert loaded.model.get_input_embeddings().weight.shape == model.model.get_input_embeddings().weight.shape


def test_lab_names_are_resolved_by_the_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tiny_model("gpt2"), tmp_path)
    monkeypatch.setattr(loading, "resolve_model", {"lab:gpt": tmp_path}.get)
    assert EditableModel.load("lab:gpt", device="cpu").name == "lab:gpt"


def failure(name: str) -> str:
    with pytest.raises(BadModel) as caught:
        EditableModel.load(name, device="cpu")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_failures_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert f"cannot load '{tmp_path}'" in failure(str(tmp_path))
    name = saved(tiny_model("gpt2"), tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert failure(name).startswith(f"cannot load '{name}': ")


def test_a_masked_language_model_is_refused(tmp_path: Path) -> None:
    config = hf.BertConfig(
        vocab_size=330, hidden_size=16, num_attention_heads=2, num_hidden_layers=1, intermediate_size=16
    )
    hf.BertForMaskedLM(config).save_pretrained(tmp_path)
    assert "masked language model" in failure(str(tmp_path))
