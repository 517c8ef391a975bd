"""Prompts in requests: a text, or messages in OpenAI's shape. Says what is wrong with one, and in which field.

What makes messages valid is known to `errata.prompts`; here is their place in a request.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from errata.errors import BadEdit
from errata.prompts import Conversation
from errata.serve.api.chat import Part
from errata.serve.api.openai import Strict

Text = Annotated[str, Field(min_length=1)]


def wrong(reason: object) -> PydanticCustomError:
    """Return an error that tells `reason` as it is."""
    return PydanticCustomError("bad_edit", "{reason}", {"reason": str(reason)})


class EditMessage(Strict):
    """A message of a conversation that an edit or a probe is about."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | Annotated[list[Part], Field(min_length=1)]
    name: str | None = Field(None, description="taken, and without effect")


def _check_messages(value: Any) -> Any:
    """Refuse messages that cannot be edited, saying why, before their fields are looked at one by one."""
    if isinstance(value, list):
        try:
            Conversation(value)
        except BadEdit as error:
            raise wrong(error) from None
    return value


Messages = Annotated[
    list[EditMessage],
    BeforeValidator(_check_messages),
    Field(min_length=1, description="a conversation that ends with the user's message, instead of a prompt"),
]
Wording = Annotated[Text | Annotated[list[EditMessage], Field(min_length=1)], BeforeValidator(_check_messages)]


class PromptAsked(Strict):
    """What the model is asked: `prompt`, or `messages`. Of a sheet in chat a prompt is a user message."""

    prompt: Text | None = Field(None, description="what the model reads; a user message if the sheet is in chat")
    messages: Messages | None = Field(None, validate_default=True)

    @field_validator("messages")
    @classmethod
    def _one_of_both(cls, messages: Any, info: ValidationInfo) -> Any:
        if "prompt" in info.data:  # else it is wrong in itself
            prompt = info.data["prompt"]
            if prompt is not None and messages is not None:
                raise wrong("there are a prompt and messages; give one of them")
            if prompt is None and messages is None:
                raise wrong("there is neither a prompt nor messages; give one of them")
        return messages


class RawPromptAsked(PromptAsked):
    """What the model is asked, or a text that it is to continue as it stands."""

    raw: bool = Field(False, description="continue the prompt without the chat template")

    @field_validator("raw")
    @classmethod
    def _without_messages(cls, raw: bool, info: ValidationInfo) -> bool:
        if raw and info.data.get("messages") is not None:
            raise wrong("messages cannot be raw, they need the chat template; give a prompt, or leave out raw")
        return raw
