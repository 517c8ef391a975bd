"""From a name to a model and its tokenizer, and what kind of model it is.

Knows directories, .gguf files, hub ids, named models and, through the registry, Errata's own. It does not edit or run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from huggingface_hub import constants
from huggingface_hub.utils import get_session
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from errata.errors import BadModel, did_you_mean
from errata.models import backpack, gguf_files
from errata.models.backpack import published
from errata.named_models import MODELS, find
from errata.registry import resolve_model

Task = Literal["causal", "seq2seq", "classification"]

CLASSIFIER = "ForSequenceClassification"
HUB_TIMEOUT = 3  # seconds to find out whether the hub answers; its client would retry for half a minute


@dataclass(frozen=True)
class _Source:
    """Where a model's files are.

    Attributes:
        place: a directory, or a hub id.
        offline: the hub is not to be asked, only its cache.
        advice: what to do if it cannot be loaded from there.
    """

    place: str
    offline: bool
    advice: str


def load(
    name: str, *, dtype: torch.dtype | str | None = None, device: torch.device | str | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model and tokenizer called `name`, in eval mode; see `EditableModel.load`."""
    backpack.register()
    source = _find(name)
    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    with _explained(name, source):
        loader = _loader(name, AutoConfig.from_pretrained(source.place, local_files_only=source.offline))
        model = loader.from_pretrained(source.place, dtype=dtype or "auto", local_files_only=source.offline).to(place)
        tokenizer = AutoTokenizer.from_pretrained(source.place, local_files_only=source.offline)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if model.config.pad_token_id is None:  # a classifier on a decoder finds each row's last token with it
        model.config.pad_token_id = tokenizer.pad_token_id
    return model.eval(), tokenizer


def outline(name: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """As `load`, but with no weights in it: the model's structure, from its config and tokenizer alone."""
    backpack.register()
    source = _find(name)
    with _explained(name, source):
        config = AutoConfig.from_pretrained(source.place, local_files_only=source.offline)
        with torch.device("meta"):
            model = _loader(name, config).from_config(config)
        return model.eval(), AutoTokenizer.from_pretrained(source.place, local_files_only=source.offline)


def _find(name: str) -> _Source:
    """Where the files of the model called `name` are; a .gguf file is converted if it was not before.

    Raises:
        BadModel: the name is a path at which nothing is, or a .gguf file that cannot be converted.
        UnknownName: the lab has no such model.
    """
    path = Path(name)
    if (own := resolve_model(name)) is not None:
        return _Source(str(own), True, "reinstall errata")
    if path.is_dir():
        return _Source(name, True, "give a hub id, or a directory with config, weights and tokenizer")
    if gguf_files.is_gguf(name) or path.is_file():
        return _converted(path, name)
    if (named := find(name)) is not None:
        if (file := named.file()) is not None:
            return _converted(file, name)
        return _Source(named.hub, not _hub_answers(), f"its weights are not installed: {named.install}")
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise BadModel(f"cannot load '{name}': there is no such directory or file; check the path")
    near = did_you_mean(name, [model.name for model in MODELS])
    advice = f"give a directory, a .gguf file, a hub id or a name of `errata models`.{near}".removesuffix(".")
    return _Source(name, not _hub_answers(), advice)


def _converted(file: Path, name: str) -> _Source:
    place = str(gguf_files.checkpoint(file, name, _loader))
    return _Source(place, True, f"delete {place}, which is made again from the .gguf file")


def _hub_answers() -> bool:
    """Whether the hub can be reached (through a proxy, if one is set); False in offline mode."""
    try:
        get_session().head(constants.ENDPOINT, timeout=HUB_TIMEOUT)
    except Exception:  # of the HTTP library that huggingface_hub uses, which changed with its versions
        return False
    return True


@contextmanager
def _explained(name: str, source: _Source) -> Iterator[None]:
    try:
        yield
    except BadModel:
        raise
    except Exception as error:  # transformers raises whatever the file at fault made it raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        if source.offline and not Path(source.place).is_dir():
            reason = f"the hub cannot be reached, and {source.place} is not in its cache"
        raise BadModel(f"cannot load '{name}': {reason}; {source.advice}") from error


def _loader(name: str, config: PreTrainedConfig) -> type:
    architecture = (config.architectures or [""])[0]
    if architecture == published.ARCHITECTURE:
        return published.PublishedBackpack
    if architecture.endswith(CLASSIFIER):
        return AutoModelForSequenceClassification
    if config.is_encoder_decoder:
        return AutoModelForSeq2SeqLM
    if architecture.endswith("ForMaskedLM"):
        raise BadModel(
            f"'{name}' is a masked language model, which neither generates nor classifies; "
            "load a causal, encoder-decoder or sequence-classification model"
        )
    return AutoModelForCausalLM


def task_of(model: PreTrainedModel) -> Task:
    """What the model does.

    Raises:
        BadModel: it is none of the three kinds Errata edits.
    """
    classifier = any(kind.__name__.endswith(CLASSIFIER) for kind in type(model).__mro__)
    if classifier and not model.config.is_encoder_decoder:
        return "classification"
    if model.can_generate():
        return "seq2seq" if model.config.is_encoder_decoder else "causal"
    raise BadModel(
        f"{type(model).__name__} is not a kind of model Errata edits; "
        "load a causal, encoder-decoder or sequence-classification model"
    )


def context_of(model: PreTrainedModel) -> int | None:
    """The most tokens a row may have; None when positions are unbounded (T5)."""
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if limit is None:
        return None
    # RoBERTa numbers positions from padding_idx + 1 on, inside a table of this size.
    tables = (module for module in model.modules() if isinstance(module, nn.Embedding))
    reserved = [
        table.padding_idx + 1
        for table in tables
        if table.padding_idx is not None
        and table.num_embeddings == limit
        and table is not model.get_input_embeddings()
    ]
    return limit - max(reserved, default=0)
