"""Named models: found in installed packages, joined from pieces, else said how to get; and smollm2 itself."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from pathlib import Path

import pytest

from errata import named_models
from errata.errors import BadModel
from errata.models import EditableModel, loading
from errata.named_models import MODELS, NamedModel, find
from gguf_models import write_gguf


@pytest.fixture
def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NamedModel:
    """A named model whose file lies in two packages, which are on the path but cannot be imported."""
    pytest.importorskip("gguf")
    write_gguf(tmp_path / "tiny.gguf")
    whole = (tmp_path / "tiny.gguf").read_bytes()
    for number, piece in enumerate((whole[:1000], whole[1000:])):
        folder = tmp_path / "site" / f"tiny_part{number}"
        (folder / "data").mkdir(parents=True)
        (folder / "__init__.py").write_text("raise ImportError('its dependencies are missing')")
        (folder / "data" / f"part{number}").write_bytes(piece)
    monkeypatch.syspath_prepend(tmp_path / "site")
    model = dataclasses.replace(
        MODELS[0],
        name="tiny",
        pieces=("tiny_part0/data/part0", "tiny_part1/data/part1"),
        sha256=hashlib.sha256(whole).hexdigest(),
    )
    monkeypatch.setattr(named_models, "MODELS", (model,))
    monkeypatch.setenv("ERRATA_CACHE", str(tmp_path / "cache"))
    return model


def test_pieces_are_joined_and_loaded(packaged: NamedModel, tmp_path: Path) -> None:
    assert packaged.installed
    assert EditableModel.load("tiny", device="cpu").name == "tiny"
    joined = packaged.file()
    assert joined is not None
    assert joined.read_bytes() == (tmp_path / "tiny.gguf").read_bytes()


def test_damaged_pieces_are_refused(packaged: NamedModel, tmp_path: Path) -> None:
    piece = tmp_path / "site" / "tiny_part1" / "data" / "part1"
    piece.write_bytes(piece.read_bytes()[:-1])
    with pytest.raises(BadModel, match="checksum"):
        EditableModel.load("tiny", device="cpu")
    assert not list((tmp_path / "cache" / "joined").glob("*.gguf"))


def test_a_directory_of_that_name_comes_first(packaged: NamedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()
    with pytest.raises(BadModel, match="directory with config"):
        EditableModel.load("tiny", device="cpu")


@pytest.mark.parametrize("name", ["smollm2", "gemma3-270m"])
def test_what_is_not_installed_says_how_to_get_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(named_models, "_find", lambda piece: None)
    monkeypatch.setattr(loading, "_hub_answers", lambda: False)
    model = find(name)
    assert model is not None
    assert not model.installed
    with pytest.raises(BadModel) as caught:
        EditableModel.load(name)
    assert str(caught.value) == (
        f"cannot load '{name}': the hub cannot be reached, and {model.hub} is not in its cache; "
        f"its weights are not installed: {model.install}"
    )


def test_a_hub_that_cannot_be_reached_is_told_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading.constants, "ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
    started = time.perf_counter()
    with pytest.raises(BadModel, match=r"the hub cannot be reached.* Did you mean 'smollm2'") as caught:
        EditableModel.load("smolm2")
    assert "\n" not in str(caught.value)
    assert time.perf_counter() - started < 3 * loading.HUB_TIMEOUT


def test_names_are_unlike_paths() -> None:
    assert len({model.name for model in MODELS}) == len(MODELS)
    for model in MODELS:
        assert "/" not in model.name
        assert model.size
        assert len(model.pieces) == 1 or len(model.sha256) == 64


def test_smollm2_answers_in_chat(smollm2: EditableModel) -> None:
    tokens, model = smollm2.tokenizer, smollm2.model
    question = [{"role": "user", "content": "What is the capital of Japan?"}]
    text = tokens.apply_chat_template(question, add_generation_prompt=True, tokenize=False)
    assert text == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nWhat is the capital of Japan?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert smollm2.generate([str(text)], max_new_tokens=12) == ["The capital of Japan is Tokyo."]
    assert (tokens.bos_token, tokens.eos_token, tokens.pad_token) == ("<|im_start|>", "<|im_end|>", "<|im_end|>")
    assert model.generation_config.eos_token_id == tokens.eos_token_id == 2
    assert tokens.tokenize("in  1999") == ["in", "ĠĠ", "1", "9", "9", "9"]
    assert smollm2.name == "smollm2"
    assert sum(weight.numel() for weight in model.parameters()) == MODELS[0].parameters
