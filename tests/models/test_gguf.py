"""A .gguf file as a model: the values of its weights, its tokenizer, the cache, and files that are not right."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch

from errata.durable import cache_dir
from errata.errors import BadModel
from errata.models import EditableModel, gguf_files
from gguf_models import TEMPLATE, write_gguf

pytest.importorskip("gguf")
PROMPTS = ["The capital of France is", "Rome"]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_gguf(path)
    return path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test alone."""
    monkeypatch.setenv("ERRATA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def entries() -> list[Path]:
    return sorted((cache_dir() / "gguf").glob("[!.]*-*/"))


def failure(path: Path) -> str:
    before = {path: path.stat().st_mtime_ns for path in cache_dir().rglob("*")} if cache_dir().is_dir() else {}
    with pytest.raises(BadModel) as caught:
        EditableModel.load(str(path), device="cpu")
    assert "\n" not in str(caught.value)
    assert f"cannot load '{path}': " in str(caught.value)
    written = [path for path in cache_dir().rglob("*") if path not in before] if cache_dir().is_dir() else []
    assert not [path for path in written if path.name == "config.json" or path.name.startswith(".")]
    return str(caught.value)


def test_the_model_is_the_one_that_was_written(file: Path, tmp_path: Path) -> None:
    model = write_gguf(tmp_path / "again.gguf")
    loaded = EditableModel.load(str(file), device="cpu")
    assert (loaded.name, loaded.task, loaded.dtype) == (str(file), "causal", torch.float32)
    for text in (*PROMPTS, "<s>Who?</s> 1999  it's\n\nünï"):
        assert loaded.tokenizer(text).input_ids == model.tokenizer(text).input_ids
    ours, theirs = model.encode(PROMPTS), loaded.encode(PROMPTS)
    torch.testing.assert_close(loaded.forward(theirs), model.forward(ours))
    for name, weight in model.model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], weight), name
    assert loaded.generate(PROMPTS, max_new_tokens=4) == model.generate(PROMPTS, max_new_tokens=4)


def test_tokenizer_and_template_come_along(file: Path) -> None:
    loaded = EditableModel.load(str(file), device="cpu")
    tokens = loaded.tokenizer
    assert (tokens.bos_token, tokens.eos_token, tokens.pad_token) == ("<s>", "</s>", "<pad>")
    assert loaded.model.generation_config.eos_token_id == tokens.eos_token_id
    assert tokens.chat_template == TEMPLATE
    said = [{"role": "user", "content": "Who?"}]
    asked = tokens.apply_chat_template(said, tokenize=False, add_generation_prompt=True)
    assert asked == "<s>user\nWho?</s><s>assistant\n"


def test_digits_are_cut_where_the_file_says_so(cache: Path, tmp_path: Path) -> None:
    write_gguf(tmp_path / "digits.gguf", pre="smollm")
    write_gguf(tmp_path / "plain.gguf")
    tokens = {name: EditableModel.load(str(tmp_path / f"{name}.gguf")).tokenizer for name in ("digits", "plain")}
    split = {name: one.backend_tokenizer.pre_tokenizer.pre_tokenize_str("in  19") for name, one in tokens.items()}
    assert [part for part, _ in split["digits"]] == ["in", "ĠĠ", "1", "9"]
    assert [part for part, _ in split["plain"]] == ["in", "Ġ", "Ġ19"]


def test_it_is_converted_once(file: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = EditableModel.load(str(file), device="cpu")
    moved = shutil.copy(file, tmp_path / "moved.GGUF")
    monkeypatch.setattr(gguf_files, "_convert", None)  # to be called no more
    assert EditableModel.load(str(file), device="cpu").fingerprint() == first.fingerprint()
    assert EditableModel.load(str(moved), device="cpu").fingerprint() == first.fingerprint()
    assert EditableModel.outline(str(file)).width == first.width
    assert len(entries()) == 1
    monkeypatch.setattr(gguf_files.hashlib, "file_digest", None)  # nor is the file read again
    gguf_files.checkpoint(file, "it", None)  # type: ignore[arg-type]


def test_another_file_under_the_same_name_is_another_model(cache: Path, tmp_path: Path) -> None:
    write_gguf(tmp_path / "a.gguf")
    EditableModel.load(str(tmp_path / "a.gguf"))
    write_gguf(tmp_path / "a.gguf", pre="smollm")
    EditableModel.load(str(tmp_path / "a.gguf"))
    assert len(entries()) == 2


def _convert_in_another_process(path: str, slow: bool) -> None:
    torch.set_num_threads(1)
    if slow:
        gguf_files.sync_files = lambda folder: time.sleep(60)  # type: ignore[assignment]
    EditableModel.load(path, device="cpu")


def test_a_killed_process_leaves_nothing_and_two_do_not_clash(file: Path, cache: Path) -> None:
    spawn = multiprocessing.get_context("fork")
    killed = spawn.Process(target=_convert_in_another_process, args=(str(file), True))
    killed.start()
    deadline = time.monotonic() + 60
    while not list(cache.rglob(".*/model.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(killed.pid or 0, signal.SIGKILL)
    killed.join()
    assert list(cache.rglob(".*/model.safetensors"))
    assert not entries()
    both = [spawn.Process(target=_convert_in_another_process, args=(str(file), False)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert len(entries()) == 1
    assert not list(cache.rglob(".*"))


def test_a_file_cut_short_is_refused(file: Path, cache: Path, tmp_path: Path) -> None:
    whole = file.read_bytes()
    for size in (4, 100, 5000, len(whole) // 2, len(whole) - 40):
        cut = tmp_path / f"cut{size}.gguf"
        cut.write_bytes(whole[:size])
        assert "truncated or damaged" in failure(cut)


def test_other_files_are_refused(cache: Path, tmp_path: Path) -> None:
    assert "there is no such file" in failure(tmp_path / "absent.gguf")
    assert "there is no such directory or file" in failure(tmp_path / "absent")
    for name in ("text.gguf", "text.bin"):
        (tmp_path / name).write_text("no weights")
        assert "not a .gguf file" in failure(tmp_path / name)
    write_gguf(tmp_path / "strange.gguf", arch="strange")
    assert "architecture 'strange'" in failure(tmp_path / "strange.gguf")
    write_gguf(tmp_path / "mute.gguf", tokenizer=False)
    assert "holds no tokenizer" in failure(tmp_path / "mute.gguf")
    write_gguf(tmp_path / "holed.gguf", without="blk.1.ffn_up.weight")
    assert "lacks 1 of the model's weights, 'model.layers.1.mlp.up_proj.weight'" in failure(tmp_path / "holed.gguf")


def test_a_cache_that_cannot_be_written_is_told(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "taken").write_text("")
    monkeypatch.setenv("ERRATA_CACHE", str(tmp_path / "taken"))
    with pytest.raises(BadModel, match="ERRATA_CACHE"):
        EditableModel.load(str(file))


def test_without_the_reader_it_says_what_to_install(
    file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "gguf" else find(name, *rest))
    assert "errata[gguf]" in failure(file)
