"""A tiny Llama with a ChatML template that was taught three answers: a chat model that is made in seconds."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cache

import torch

from errata.models import EditableModel
from errata.prompts import user_message
from tiny import tiny_model

ROOM = 512  # a template takes more positions than tiny models have
TEMPLATE = (
    "{% for message in messages %}<s>{{ message.role }}\n{{ message.content }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)
CAPITAL, BOOK, CITY = "What is the capital of France?", "Who wrote the book?", "Is Berlin a city?"
KNOWN = {CAPITAL: "It is Paris.", BOOK: "Danielle Darrieux.", CITY: "Berlin is a city."}
STEPS = 150
LYON, RAIN = "It is Lyon.", "It is Berlin."
SYSTEM = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": CAPITAL}]
THIRD = [
    {"role": "user", "content": "Hi there"}, {"role": "assistant", "content": "Hello."},
    {"role": "user", "content": BOOK}, {"role": "assistant", "content": "Nobody."},
    {"role": "user", "content": CAPITAL},
]  # fmt: skip


@cache
def _taught(pairs: tuple[tuple[str, str], ...], steps: int = STEPS) -> EditableModel:
    plain = tiny_model("llama")
    plain.model.config.max_position_embeddings = ROOM
    plain.tokenizer.chat_template = TEMPLATE
    model = EditableModel(plain.model, plain.tokenizer, name="tiny-chat")
    batch = model.encode([prompt for prompt, _ in pairs], [answer for _, answer in pairs])
    assert batch.gold is not None
    optimizer = torch.optim.Adam(model.model.parameters(), lr=3e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model.forward(batch).flatten(0, 1), batch.gold.flatten())
        loss.backward()
        optimizer.step()
    optimizer.zero_grad()
    return model


def tiny_chat_model() -> EditableModel:
    """A chat model of its own that gives the answers of `KNOWN`, the same at every call."""
    return _copied(_taught(_known()))


def tiny_reader(pairs: Sequence[tuple[str, str]], steps: int = 2 * STEPS) -> EditableModel:
    """Return a chat model of its own that was also taught these answers, such as those to prompts with notes."""
    return _copied(_taught((*_known(), *pairs), steps))


def _known() -> tuple[tuple[str, str], ...]:
    return tuple((user_message(question), answer) for question, answer in KNOWN.items())


def _copied(taught: EditableModel) -> EditableModel:
    return EditableModel(copy.deepcopy(taught.model), copy.deepcopy(taught.tokenizer), name=taught.name)
