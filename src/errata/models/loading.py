"""From a name to a model and its tokenizer, and what kind of model it is.

Knows directories, hub ids and, through the registry, Errata's own models. It does not edit or run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
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

from errata.errors import BadModel
from errata.models import backpack
from errata.models.backpack import published
from errata.registry import resolve_model

Task = Literal["causal", "seq2seq", "classification"]

CLASSIFIER = "ForSequenceClassification"


def load(
    name: str, *, dtype: torch.dtype | str | None = None, device: torch.device | str | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model and tokenizer called `name`, in eval mode; see `EditableModel.load`."""
    backpack.register()
    source = str(resolve_model(name) or name)
    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    with _explained(name):
        loader = _loader(name, AutoConfig.from_pretrained(source))
        model = loader.from_pretrained(source, dtype=dtype or "auto").to(place)
        tokenizer = AutoTokenizer.from_pretrained(source)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if model.config.pad_token_id is None:  # a classifier on a decoder finds each row's last token with it
        model.config.pad_token_id = tokenizer.pad_token_id
    return model.eval(), tokenizer


def outline(name: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """As `load`, but with no weights in it: the model's structure, from its config and tokenizer alone."""
    backpack.register()
    source = str(resolve_model(name) or name)
    with _explained(name):
        config = AutoConfig.from_pretrained(source)
        with torch.device("meta"):
            model = _loader(name, config).from_config(config)
        return model.eval(), AutoTokenizer.from_pretrained(source)


@contextmanager
def _explained(name: str) -> Iterator[None]:
    try:
        yield
    except BadModel:
        raise
    except Exception as error:  # transformers raises whatever the file at fault made it raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BadModel(
            f"cannot load '{name}': {reason[:200]}; give a hub id, or a directory with config, weights and tokenizer"
        ) from error


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
