"""The one place where conversations become what a chat model reads: its own template, one BOS, the end of an answer.

Knows tokenizers and their chat templates. It knows no weights, edits or servers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import jinja2
from transformers import PreTrainedTokenizerBase

from errata.errors import BadEdit, BadModel
from errata.prompts import Conversation, Message, quote

PROBES = ("kelp", "moth")  # contents by which a template's own text is told from what it is given


class Renderable(Protocol):
    """What a template renders: a `Message`, or another object with a role and a content."""

    def to_json(self) -> dict[str, str]:
        """Return {"role", "content"}."""
        ...


@dataclass(frozen=True)
class ChatFormat:
    """How a chat model's conversations are written.

    Attributes:
        tokenizer: with the template.
        options: the template's own arguments (`chat_template_kwargs`), such as enable_thinking.
        header: ids before a user's content that are the same in every turn.
        opening: ids between the user's last word and the answer's first.
        end: id that ends an answer; None if the template writes no special token there, and the EOS does.
    """

    tokenizer: PreTrainedTokenizerBase
    options: Mapping[str, Any] = field(default_factory=dict)
    header: tuple[int, ...] = ()
    opening: tuple[int, ...] = ()
    end: int | None = None

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, options: Mapping[str, Any] | None = None) -> ChatFormat | None:
        """Read how a tokenizer's template writes turns; None if it has no template.

        Raises:
            BadModel: the template cannot be rendered.
        """
        if not tokenizer.chat_template:
            return None
        plain = cls(tokenizer, dict(options or {}))
        user, said = (Message("user", PROBES[0]), Message("assistant", PROBES[1]))
        try:
            asked, other = plain.ids([user]), plain.ids([Message("user", PROBES[1])])
            later = plain.ids([user, said, user])
            spoken = str(plain._apply([user, said], add_generation_prompt=False))
        except BadEdit as error:
            raise BadModel(f"{error}; give the tokenizer a chat template that renders these turns") from None
        # Read off whole renderings: pieces tokenised by themselves may have other boundaries.
        opening = _common_ending(asked, other)
        size = len(asked) - _common_beginning(asked, other) - len(opening)
        same = _common_ending(asked, later)
        header = same[: len(same) - len(opening) - size]
        after = plain._ids(spoken.rpartition(PROBES[1])[2])
        special = set(cast(list[int], tokenizer.all_special_ids)) | set(cast(Any, tokenizer).get_added_vocab().values())
        end = next((id for id in after if id in special), None)
        return cls(tokenizer, plain.options, tuple(header), tuple(opening), end)

    def text(self, messages: Sequence[Renderable]) -> str:
        """Render messages up to where the answer begins.

        Raises:
            BadEdit: the template does not take them.
        """
        return str(self._apply(messages, add_generation_prompt=True))

    def ids(self, messages: Sequence[Renderable]) -> list[int]:
        """Tokenise messages up to where the answer begins. Raises: BadEdit, as `text`."""
        return self._ids(self.text(messages))

    def _apply(self, messages: Sequence[Renderable], *, add_generation_prompt: bool) -> Any:
        told = [message.to_json() for message in messages]
        try:
            text = self.tokenizer.apply_chat_template(
                told, add_generation_prompt=add_generation_prompt, tokenize=False, **self.options
            )
        except (jinja2.TemplateError, TypeError, ValueError, KeyError, AttributeError) as error:
            raise BadEdit(f"the model's chat template does not take these messages: {error}") from None
        return self._with_one_bos(str(text))

    def _with_one_bos(self, text: str) -> str:
        """Begin with the BOS where the tokenizer writes one, and never with two."""
        bos = cast("str | None", self.tokenizer.bos_token)
        if not bos:
            return text
        while text.startswith(bos + bos):
            text = text[len(bos) :]
        marked = cast(list[int], self.tokenizer("a", verbose=False)["input_ids"])
        writes = marked[:1] == [self.tokenizer.bos_token_id]
        return bos + text if writes and not text.startswith(bos) else text

    def _ids(self, text: str) -> list[int]:
        return list(cast(list[int], self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]))


def _common_beginning(one: Sequence[int], other: Sequence[int]) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (mine, theirs) in pairs if mine != theirs), min(len(one), len(other)))


def _common_ending(one: Sequence[int], other: Sequence[int]) -> list[int]:
    size = _common_beginning(one[::-1], other[::-1])
    return list(one[len(one) - size :])


def render(chat: ChatFormat | None, prompt: str) -> tuple[str, bool]:
    """Return the text that a prompt is to the tokenizer, and whether the tokenizer adds its special tokens.

    Raises:
        BadEdit: the prompt is a conversation, and the model has no chat template or it does not take the messages.
    """
    if not isinstance(prompt, Conversation):
        return str(prompt), True
    if chat is None:
        raise BadEdit(
            f"this model has no chat template, so it cannot read the messages that end with {quote(str(prompt))}; "
            "give a plain prompt, or a model that was made for chat"
        )
    return chat.text(prompt.messages), False
