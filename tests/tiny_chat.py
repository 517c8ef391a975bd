"""A tiny random Llama with a ChatML template: what a chat model is to Errata, in a fraction of a second."""

from __future__ import annotations

from errata.models import EditableModel
from tiny import tiny_model

ROOM = 512  # a template takes more positions than tiny models have
TEMPLATE = (
    "{% for message in messages %}<s>{{ message.role }}\n{{ message.content }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)


def tiny_chat_model() -> EditableModel:
    """A random chat model of its own, the same at every call."""
    plain = tiny_model("llama")
    plain.model.config.max_position_embeddings = ROOM
    plain.tokenizer.chat_template = TEMPLATE
    return EditableModel(plain.model, plain.tokenizer, name="tiny-chat")
