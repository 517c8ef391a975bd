"""Models in .gguf files, as llama.cpp runs them: turned into ordinary checkpoints, once, in the cache.

Knows the file format as far as it takes to check a file, and how transformers reads one. The weights of the checkpoint
are those of the file in float32: what a quantized file stands for is exact in it, and not in float16.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from tokenizers import pre_tokenizers
from tqdm import tqdm
from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase

from errata.durable import cache_dir, locked, staged, sync_files, write_atomic
from errata.errors import BadModel

if TYPE_CHECKING:
    from gguf import GGUFReader

SUFFIX = ".gguf"
FORMAT = 1  # of the checkpoints in the cache; to be raised when the same file would become another checkpoint
_MAGIC = b"GGUF"

_DIGITS = ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b")
"""Kinds of splitting (`tokenizer.ggml.pre`) that cut digits apart before GPT-2's pattern; transformers 5.23 leaves that
out, and "in  1999" would get other tokens than in training."""

Loader = Callable[[str, PreTrainedConfig], Any]


def is_gguf(name: str) -> bool:
    """Whether a model of this name is a .gguf file."""
    return name.lower().endswith(SUFFIX)


def checkpoint(file: Path, name: str, loader: Loader) -> Path:
    """Return the directory of `file` as an ordinary checkpoint; the first time, write it.

    The directory is addressed by the file's content. It is whole or absent; of several processes one writes it and the
    others wait.

    Args:
        file: the .gguf file.
        name: what the user calls it, for messages.
        loader: chooses transformers' class for a name and a config.

    Raises:
        BadModel: there is no such file, it is not a whole .gguf file with a tokenizer, transformers cannot read it, or
            the cache cannot be written.
    """
    _check_start(file, name)
    try:
        entry = cache_dir() / "gguf" / f"{_sha256(file)}-{FORMAT}"
        if not entry.is_dir():
            with locked(entry):
                if not entry.is_dir():
                    _convert(file, name, loader, entry)
        return entry
    except OSError as error:
        raise BadModel(
            f"cannot write '{name}' as a checkpoint in {cache_dir()}: {error.strerror or error}; free space there, or "
            "name another directory in ERRATA_CACHE"
        ) from error


def _check_start(file: Path, name: str) -> None:
    if not file.is_file():
        raise BadModel(f"cannot load '{name}': there is no such file; check the path")
    try:
        with file.open("rb") as stream:
            start = stream.read(len(_MAGIC))
    except OSError as error:
        raise BadModel(f"cannot load '{name}': {error.strerror or error}; check its permissions") from error
    if start != _MAGIC:
        raise BadModel(f"cannot load '{name}': it is not a .gguf file (it does not begin with GGUF); download it again")


def _sha256(file: Path) -> str:
    """The checksum of the file, which is remembered for its path, size and time of change."""
    path, stat = file.resolve(), file.stat()
    seen = hashlib.sha256(json.dumps([str(path), stat.st_size, stat.st_mtime_ns]).encode()).hexdigest()
    note = cache_dir() / "gguf" / "checksums" / seen
    if note.is_file():
        return note.read_text()
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    note.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(note, found.encode())
    return found


def _convert(file: Path, name: str, loader: Loader, entry: Path) -> None:
    if importlib.util.find_spec("gguf") is None:
        raise BadModel(f"cannot load '{name}': the package gguf is not installed; run pip install 'errata[gguf]'")
    with tqdm(total=4, desc=f"convert {file.name}, once", unit="step", leave=False, disable=None) as bar, _quiet():
        reader = _read_header(file, name)
        kind, architecture = _text(reader, "tokenizer.ggml.pre"), _text(reader, "general.architecture")
        bar.update()
        source, given = str(file.parent), {"gguf_file": file.name, "local_files_only": True}
        with _explained(name, str(architecture)), _lent(reader):
            config = AutoConfig.from_pretrained(source, **given)
            tokenizer = AutoTokenizer.from_pretrained(source, **given)
            _cut_digits(tokenizer, kind)
            bar.update()
            model, found = loader(name, config).from_pretrained(
                source, config=config, dtype=torch.float32, output_loading_info=True, **given
            )
            bar.update()
        if missing := sorted(found["missing_keys"]):
            raise BadModel(
                f"cannot load '{name}': the file lacks {len(missing)} of the model's weights, '{missing[0]}' first; "
                "download a complete one"
            )
        _unquantize(model)
        with staged(entry) as stage:
            model.save_pretrained(stage)
            tokenizer.save_pretrained(stage)
            sync_files(stage)
        bar.update()


def _read_header(file: Path, name: str) -> GGUFReader:
    """Open the file, after checking that all of it is there.

    Raises:
        BadModel: it is truncated, one of several parts, or without a tokenizer.
    """
    from gguf import GGUFReader

    try:
        reader = GGUFReader(file)  # checks every tensor's extent
        architecture = _text(reader, "general.architecture")
        parts = reader.fields.get("split.count")
        count = int(parts.parts[parts.data[0]][0]) if parts else 1
    except Exception as error:  # the reader raises whatever the bytes at fault made it raise
        raise BadModel(
            f"cannot load '{name}': the .gguf file is truncated or damaged ({_one_line(error)}); download it again"
        ) from error
    if count > 1:
        raise BadModel(
            f"cannot load '{name}': it is one of {count} parts of a model; join them with `llama-gguf-split --merge`"
        )
    if architecture is None or not reader.tensors:
        raise BadModel(f"cannot load '{name}': it holds no language model; give the .gguf file of one")
    if "tokenizer.ggml.tokens" not in reader.fields:
        raise BadModel(f"cannot load '{name}': it holds no tokenizer; give a .gguf file with one, or a directory")
    return reader


def _text(reader: GGUFReader, key: str) -> str | None:
    field = reader.fields.get(key)
    return bytes(field.parts[field.data[0]]).decode() if field else None


@contextmanager
def _lent(reader: GGUFReader) -> Iterator[None]:
    """Give transformers this reader for the model's file, without the parts that only tokenizers are made of.

    It would open the file three times more, and turn every token and merge into Python objects each time, which takes
    longer than the weights do. With a version that reads files in another way nothing changes.
    """
    import gguf

    opener = gguf.GGUFReader
    for key in ("merges", "scores", "token_type"):
        reader.fields.pop(f"tokenizer.ggml.{key}", None)
    gguf.GGUFReader = lambda *_, **__: reader  # type: ignore[assignment, misc]
    try:
        yield
    finally:
        gguf.GGUFReader = opener


@contextmanager
def _explained(name: str, architecture: str) -> Iterator[None]:
    try:
        yield
    except BadModel:
        raise
    except Exception as error:  # as in `loading`
        raise BadModel(
            f"cannot load '{name}': transformers {transformers.__version__} does not read this .gguf file of "
            f"architecture '{architecture}' ({_one_line(error)}); give the original weights, a directory or a hub id"
        ) from error


def _one_line(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:160]


def _cut_digits(tokenizer: PreTrainedTokenizerBase, kind: str | None) -> None:
    if kind in _DIGITS:
        digits, rest = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, rest])  # type: ignore[attr-defined]


def _unquantize(model: Any) -> None:
    """Forget that the weights came from a quantized file: transformers refuses to save such a model."""
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.config.__dict__.pop("_model_name_or_path", None)  # the title in the file's metadata
    if hasattr(model, "hf_quantizer"):
        del model.hf_quantizer


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' own bars and notices off the terminal; they tell nothing of how far the conversion is."""
    import transformers.modeling_gguf_pytorch_utils as module

    reader: Any = module

    logging = transformers.logging
    bars, level, own = logging.is_progress_bar_enabled(), logging.get_verbosity(), getattr(reader, "tqdm", None)
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    if own is not None:  # this bar heeds no setting of transformers
        reader.tqdm = lambda items, **_: items
    try:
        yield
    finally:
        if own is not None:
            reader.tqdm = own
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
