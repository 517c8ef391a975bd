"""Where a conversation's answers begin, and which question each of them answers, read off token ids.

Knows how a chat format writes turns. It knows no edits.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from errata.models.chat import ChatFormat

WIDE = array("i").itemsize


@dataclass(frozen=True)
class Turn:
    """An answer of the conversation.

    Attributes:
        start: index of its first token, which may not be written yet.
        end: index of the token that ends it, or after the last one read.
        question: the user's message before it.
        earlier: the user's message before that one; None if there is none.
    """

    start: int
    end: int
    question: str
    earlier: str | None


def turns(ids: Sequence[int], chat: ChatFormat, after: int = 0) -> list[Turn]:
    """Return the turns of one row whose answers end after index `after`."""
    text, size = _bytes(ids), len(chat.opening)
    openings = _places(text, _bytes(chat.opening)) if size else []
    found = []
    for place, opening in enumerate(openings):
        end = _end(text, opening + size, chat)
        if end > after and (question := _question(ids, text, opening, chat)) is not None:
            earlier = _question(ids, text, openings[place - 1], chat) if place else None
            found.append(Turn(opening + size, end, question, earlier))
    return found


def _end(text: bytes, start: int, chat: ChatFormat) -> int:
    """The index at which an answer that starts at `start` ends: at its end token, or where the user speaks again."""
    end = chat.tokenizer.eos_token_id if chat.end is None else chat.end
    signs = [_bytes(sign) for sign in ((end,) if isinstance(end, int) else (), chat.header) if sign]
    found = [place for sign in signs for place in _places(text[start * WIDE :], sign)[:1]]
    return start + min(found, default=len(text) // WIDE - start)


def _question(ids: Sequence[int], text: bytes, opening: int, chat: ChatFormat) -> str | None:
    """The user's message that ends where an answer is opened; None where no user's message does."""
    header = _bytes(chat.header)
    begin = 0
    if header:
        begin = next(iter(_places(text[: opening * WIDE], header, last=True)), -1)
    if begin < 0:
        return None
    asked = ids[begin + len(chat.header) : opening]
    return str(chat.tokenizer.decode(list(asked), skip_special_tokens=True)).strip()


def _bytes(ids: Sequence[int]) -> bytes:
    """Ids as fixed-width numbers, in which a sequence is found as fast as in a text."""
    return array("i", ids).tobytes()


def _places(text: bytes, part: bytes, last: bool = False) -> list[int]:
    """Indices of ids at which `part` begins; the last one alone, if asked."""
    found, at = [], text.rfind(part) if last else text.find(part)
    while at >= 0:
        if at % WIDE == 0:
            found.append(at // WIDE)
            if last:
                return found
        at = text.rfind(part, 0, at + len(part) - 1) if last else text.find(part, at + 1)
    return found
