"""From what clients send to the ids that the engine reads: prompts, and chats by the tokenizer's own template.

Works in one thread with a tokenizer of its own, for a fast tokenizer may not be used by two threads at a time and a
long text must not hold up the event loop. Knows tokenizers; nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import jinja2

from errata.errors import BadEdit
from errata.models import EditableModel
from errata.models.encoding import prompt_ids

T = TypeVar("T")


class Reader:
    """Tokenises for one model."""

    def __init__(self, model: EditableModel) -> None:
        self._model = copy.copy(model)
        self._model.tokenizer = copy.deepcopy(model.tokenizer)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="errata-reader")

    async def prompts(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each prompt, as `EditableModel.generate` reads it."""
        return await self._in_thread(lambda: prompt_ids(self._model, texts))

    async def chat(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """The ids of a conversation that the model is to go on with.

        Without a chat template, as with models that were never taught to chat, it is the messages' texts, a line each.
        Raises: BadEdit where the template does not take these messages.
        """
        return await self._in_thread(lambda: self._chat(messages))

    async def texts(self, rows: Sequence[Sequence[int]], *, special: bool = False) -> list[str]:
        """What the rows of ids say; with special tokens written out if asked for."""

        def decoded(row: Sequence[int]) -> str:
            return str(self._model.tokenizer.decode(list(row), skip_special_tokens=not special))

        return await self._in_thread(lambda: [decoded(row) for row in rows])

    def close(self) -> None:
        self._thread.shutdown()

    def _chat(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        tokenizer = self._model.tokenizer
        if not tokenizer.chat_template:
            return prompt_ids(self._model, ["\n".join(message["content"] for message in messages)])[0]
        try:
            text: Any = tokenizer.apply_chat_template(
                [dict(message) for message in messages], add_generation_prompt=True, tokenize=False
            )
        except (jinja2.TemplateError, TypeError, ValueError) as error:
            raise BadEdit(f"the model's chat template does not take these messages: {error}") from None
        return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])  # type: ignore[arg-type]

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
