"""From what clients send to the ids that the engine reads: prompts, and chats by the tokenizer's own template.

Works in one thread with a tokenizer of its own, for a fast tokenizer may not be used by two threads at a time and a
long text must not hold up the event loop. Knows tokenizers; nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from transformers import PreTrainedTokenizerBase

from errata.errors import BadEdit
from errata.models import EditableModel
from errata.models.chat import Renderable
from errata.models.encoding import prompt_ids
from errata.models.notes import annotate
from errata.prompts import SAME_AS, Conversation
from errata.serve.engine.request import Fired

T = TypeVar("T")
OWN = frozenset(inspect.signature(PreTrainedTokenizerBase.apply_chat_template).parameters)


@dataclass(frozen=True)
class Turn:
    """A message to be answered. Unlike one that is edited it may be empty, and a system message may come late."""

    role: str
    content: str

    def to_json(self) -> dict[str, str]:
        """Return the message as templates know it."""
        return {"role": SAME_AS.get(self.role, self.role), "content": self.content}


@dataclass(frozen=True)
class Rendered:
    """The ids of a prompt, and the edits that wrote notes into it."""

    ids: list[int]
    fired: tuple[Fired, ...] = ()


class Reader:
    """Tokenises for one model."""

    def __init__(self, model: EditableModel) -> None:
        self._model = copy.copy(model)
        self._model.tokenizer = copy.deepcopy(model.tokenizer)
        if model.chat is not None:
            self._model.chat = replace(model.chat, tokenizer=self._model.tokenizer)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="errata-reader")

    async def prompts(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each prompt, as `EditableModel.generate` reads it."""
        return await self._in_thread(lambda: prompt_ids(self._model, texts))

    async def prompt(self, prompt: str, edited: EditableModel) -> Rendered:
        """Render a prompt as `EditableModel.generate` of an edited model reads it."""
        if isinstance(prompt, Conversation) and self._model.chat is not None:
            return await self.chat(prompt.messages, edited)
        return Rendered((await self.prompts([prompt]))[0])

    async def chat(
        self, messages: Sequence[Renderable], edited: EditableModel, options: Mapping[str, Any] | None = None
    ) -> Rendered:
        """Render a conversation that an edited model is to go on with, with the notes that are attached to it.

        Without a chat template, as with models that were never taught to chat, it is the messages' texts, a line each.

        Args:
            edited: the model that answers; what tokenises is the reader's own.
            options: arguments of the template's own (`chat_template_kwargs`).

        Raises:
            BadEdit: the template does not take these messages or options, or there is none to take the options.
        """
        return await self._in_thread(lambda: self._chat(messages, edited, dict(options or {})))

    async def texts(self, rows: Sequence[Sequence[int]], *, special: bool = False) -> list[str]:
        """What the rows of ids say; with special tokens written out if asked for."""

        def decoded(row: Sequence[int]) -> str:
            return str(self._model.tokenizer.decode(list(row), skip_special_tokens=not special))

        return await self._in_thread(lambda: [decoded(row) for row in rows])

    def close(self) -> None:
        self._thread.shutdown()

    def _chat(self, messages: Sequence[Renderable], edited: EditableModel, options: Mapping[str, Any]) -> Rendered:
        chat = self._model.chat
        if chat is None:
            if options:
                raise BadEdit("this model has no chat template to take chat_template_kwargs; leave them out")
            return Rendered(prompt_ids(self._model, ["\n".join(one.to_json()["content"] for one in messages)])[0])
        if own := sorted(OWN & set(options)):
            raise BadEdit(f"chat_template_kwargs has '{own[0]}', which the server decides; leave it out")
        made = annotate(edited, messages)
        fired = [Fired(use.edit, 0, 0, -use.score, 0.0) for _, uses in made.uses for use in uses]
        return Rendered(replace(chat, options={**chat.options, **options}).ids(made.messages), tuple(fired))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
