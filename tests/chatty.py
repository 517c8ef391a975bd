"""A tiny random model that reads conversations: ChatML around every turn, an end token after an answer."""

from __future__ import annotations

from pathlib import Path

from tiny import tiny_model

from errata.models import EditableModel

START, END = "<|im_start|>", "<|im_end|>"
CHATML = (
    "{% if system is defined %}<|im_start|>system\n{{ system }}<|im_end|>\n{% endif %}"
    "{% for message in messages %}"
    "{% if message.content == 'Forbidden' %}{{ raise_exception('no such thing') }}{% endif %}"
    "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def chat_model(arch: str = "llama", context: int = 256) -> EditableModel:
    """A tiny model with a chat template; it reads rows of up to `context` tokens."""
    made = tiny_model(arch)
    tokenizer, model = made.tokenizer, made.model
    tokenizer.add_special_tokens({"additional_special_tokens": [START, END]})  # type: ignore[arg-type]
    tokenizer.chat_template = CHATML
    tokenizer.eos_token = END
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.config.eos_token_id = model.generation_config.eos_token_id = tokenizer.eos_token_id  # type: ignore[union-attr]
    model.config.max_position_embeddings = context
    return EditableModel(model, tokenizer, name="tiny-chat")


def save_chat_model(path: Path) -> EditableModel:
    """The same, in a directory."""
    made = chat_model()
    for part in (made.model, made.tokenizer):
        part.save_pretrained(path)
    return made
