"""The model that an Editor is given, in any of its forms, and what a sheet has to know of it. Knows models alone."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from errata.errors import BadConfig
from errata.models import EditableModel


def editable(
    model: PreTrainedModel | EditableModel | str, tokenizer: PreTrainedTokenizerBase | None
) -> EditableModel:
    """The model ready to be edited, its weights checked. Raises: BadModel, BadConfig (its tokenizer is missing)."""
    if isinstance(model, str):
        model = EditableModel.load(model)
    elif not isinstance(model, EditableModel):
        if tokenizer is None:
            raise BadConfig("a model in memory needs its tokenizer: Editor(model, tokenizer)")
        model = EditableModel(model, tokenizer)
    model.check()
    return model


def base_of(model: EditableModel, chat: bool) -> dict[str, Any]:
    """Return by what a sheet knows its base model, and whether its prompts are user messages."""
    base: dict[str, Any] = {"name": model.name, "fingerprint": model.fingerprint(), "task": model.task}
    return base | {"chat": True} if chat else base


def speaks(model: EditableModel, chat: bool | None) -> bool:
    """Return whether plain prompts are user messages: as asked, or by default where there is a chat template.

    Raises:
        BadConfig: chat is asked of a model without a template.
    """
    if chat and model.chat is None:
        raise BadConfig(f"{model.name} has no chat template; leave out chat, or give a model that was made for chat")
    return model.chat is not None if chat is None else chat
