"""From tokens to text while they come: whole characters only, and nothing that may turn out to be a stop string.

Knows a tokenizer's `decode`. Knows no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from transformers import PreTrainedTokenizerBase

from errata.serve.engine.request import Token

_INCOMPLETE = "\ufffd"  # what bytes decode to that are no whole character (yet)
_CONTEXT = 8  # tokens before the newest that may bear on how it is written: spaces, characters of many tokens
_WINDOW = 48  # tokens decoded at once at most, or an answer would cost the square of its length


class Decoder:
    """Turns ids into the text each one adds."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, context: Sequence[int] = ()) -> None:
        """`context`: the ids before the first, for the space that some tokenizers leave out in front of a text."""
        self._tokenizer = tokenizer
        self._window = list(context)[-_CONTEXT:]
        self._read = self._decode()

    def push(self, id: int) -> str | None:
        """What the token adds; None if its characters are not complete."""
        self._window.append(id)
        text = self._decode()
        if text.endswith(_INCOMPLETE):
            return None
        piece, self._read = text[len(self._read) :], text
        if len(self._window) > _WINDOW:  # only here, where all of it is complete
            self._window = self._window[-_CONTEXT:]
            self._read = self._decode()
        return piece

    def rest(self) -> str:
        """What the incomplete tokens at the end are written as."""
        return self._decode()[len(self._read) :]

    def _decode(self) -> str:
        return str(self._tokenizer.decode(self._window, skip_special_tokens=True))


class TextStream:
    """The tokens of one answer, each given out once its text is certain.

    A token waits while its bytes are not yet a character, or while its text may be the beginning of a stop string.
    """

    def __init__(self, decoder: Decoder, stops: Sequence[str]) -> None:
        self._decoder, self._stops = decoder, tuple(stops)
        self._waiting: list[Token] = []
        self._incomplete = 0  # tokens at the end of those waiting
        self.stopped = False

    def push(self, token: Token) -> list[Token]:
        """Take the next token (its text is filled in here). The tokens whose text is now certain.

        Afterwards `stopped` tells whether a stop string ended the answer; nothing may be pushed then.
        """
        piece = self._decoder.push(token.id)
        self._waiting.append(replace(token, text=piece or ""))
        if piece is None:
            self._incomplete += 1
            return []
        self._incomplete = 0
        return self._certain()

    def close(self) -> list[Token]:
        """The tokens still waiting: the answer ended without them becoming a stop string."""
        if self._incomplete:
            self._waiting[-1] = replace(self._waiting[-1], text=self._decoder.rest())
        return self._release(len(self._waiting))

    def _certain(self) -> list[Token]:
        text = "".join(token.text for token in self._waiting)
        cuts = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        if cuts:
            self.stopped = True
            return self._until(min(cuts))
        certain = len(text) - max((_overlap(text, stop) for stop in self._stops), default=0)
        count, length = 0, 0
        while count < len(self._waiting) and length + len(self._waiting[count].text) <= certain:
            length += len(self._waiting[count].text)
            count += 1
        return self._release(count)

    def _until(self, length: int) -> list[Token]:
        """The waiting tokens that have a share in the first `length` characters, with that share."""
        kept: list[Token] = []
        for token in self._waiting:
            if length <= 0:
                break
            kept.append(replace(token, text=token.text[:length]))
            length -= len(token.text)
        self._waiting = []
        return kept

    def _release(self, count: int) -> list[Token]:
        released, self._waiting = self._waiting[:count], self._waiting[count:]
        return released


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of the text that a stop string begins with."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
