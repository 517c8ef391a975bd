"""The model that an Editor is given, in any of its forms, and what a sheet has to know of it. Knows models alone."""

from __future__ import annotations

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


def base_of(model: EditableModel) -> dict[str, str]:
    """By what a sheet knows its base model."""
    return {"name": model.name, "fingerprint": model.fingerprint(), "task": model.task}
