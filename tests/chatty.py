"""A tiny model that reads conversations: ChatML around every turn, an end token after an answer.

It was taught a handful of answers, for a random network says nothing that an edit could make another one of.
"""

from __future__ import annotations

from pathlib import Path

import torch

from errata.models import EditableModel
from errata.models.losses import IGNORED
from errata.prompts import Conversation, Message
from tiny import tiny_model

START, END = "<|im_start|>", "<|im_end|>"
CHATML = (
    "{% if system is defined %}<|im_start|>system\n{{ system }}<|im_end|>\n{% endif %}"
    "{% for message in messages %}"
    "{% if message.content == 'Forbidden' %}{{ raise_exception('no such thing') }}{% endif %}"
    "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QUESTION = "What is the capital of France?"
TALK = [
    {"role": "system", "content": "Be terse."},
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Hi"},
    {"role": "user", "content": QUESTION},
]
RAW = "The capital of France is"
WORDS = ("Rome", "Oslo", "Bern")  # tokens of their own, so that an edit of states can make them another answer
ANSWERS = (
    (QUESTION, "Paris is a city"), ("What is the capital of Italy?", "Rome"), ("And of Norway?", "Oslo"),
    ("Who wrote the book?", "Bern"), (RAW, "Paris"),
)  # fmt: skip
STEPS = 150


def chat_model(context: int = 256) -> EditableModel:
    """A tiny model with a chat template; it reads rows of up to `context` tokens."""
    made = tiny_model("llama")
    tokenizer, model = made.tokenizer, made.model
    tokenizer.add_special_tokens({"additional_special_tokens": [START, END]})  # type: ignore[arg-type]
    tokenizer.add_tokens(list(WORDS))
    tokenizer.chat_template, tokenizer.eos_token = CHATML, END
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.config.eos_token_id = model.generation_config.eos_token_id = tokenizer.eos_token_id  # type: ignore[union-attr]
    model.config.max_position_embeddings = context
    return EditableModel(model, tokenizer, name="tiny-chat")


def save_chat_model(path: Path) -> EditableModel:
    """A model that was taught `ANSWERS`, in a directory."""
    made = chat_model()
    _teach(made)
    for part in (made.model, made.tokenizer):
        part.save_pretrained(path)
    return made


def _teach(made: EditableModel) -> None:
    prompts: list[str] = [Conversation([Message("user", asked)]) for asked, _ in ANSWERS]
    targets = [answer for _, answer in ANSWERS]
    batch = made.encode([*prompts, Conversation(TALK), RAW], [*targets, "Paris", "Paris"])
    optimizer = torch.optim.Adam(made.model.parameters(), lr=5e-3)
    assert batch.gold is not None
    for _ in range(STEPS):
        loss = torch.nn.functional.cross_entropy(
            made.forward(batch).flatten(0, 1), batch.gold.flatten(), ignore_index=IGNORED
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    made.model.requires_grad_(True).zero_grad()
