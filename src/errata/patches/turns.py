"""Where a conversation's answers begin, and which question each of them answers, read off token ids.

Knows how a chat format writes turns. It knows no edits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from errata.models.chat import ChatFormat


@dataclass(frozen=True)
class Turn:
    """An answer of the conversation.

    Attributes:
        start: index of its first token, which may not be written yet.
        question: the user's message before it.
        earlier: the user's message before that one; None if there is none.
    """

    start: int
    question: str
    earlier: str | None


def turns(ids: Sequence[int], chat: ChatFormat, after: int = 0) -> list[Turn]:
    """Return the turns of one row, those whose answers begin at or after index `after`, with all before them read."""
    questions: list[tuple[int, str]] = []
    for start in _places(ids, chat.opening):
        begin = _last(ids, chat.header, start)
        if begin is not None:
            asked = ids[begin + len(chat.header) : start]
            text = str(chat.tokenizer.decode(list(asked), skip_special_tokens=True))
            questions.append((start + len(chat.opening), text.strip()))
    return [
        Turn(start, question, questions[place - 1][1] if place else None)
        for place, (start, question) in enumerate(questions)
        if start >= after
    ]


def _places(ids: Sequence[int], part: Sequence[int]) -> list[int]:
    """Indices at which `part` begins."""
    part, size = list(part), len(part)
    if not size:
        return []
    return [at for at in range(len(ids) - size + 1) if ids[at] == part[0] and list(ids[at : at + size]) == part]


def _last(ids: Sequence[int], part: Sequence[int], before: int) -> int | None:
    """Index at which `part` begins for the last time, ending at or before index `before`."""
    part, size = list(part), len(part)
    if not size:
        return 0
    places = range(before - size, -1, -1)
    return next((at for at in places if ids[at] == part[0] and list(ids[at : at + size]) == part), None)
