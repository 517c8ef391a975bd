"""What is written into a conversation before a model reads it: notes that are attached to the model.

Knows messages and whoever adds to them. Which notes a question asks for is decided by those, in `patches.noted`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from errata.models.chat import Renderable
from errata.prompts import Conversation

if TYPE_CHECKING:
    from errata.models.editable import EditableModel


@dataclass(frozen=True)
class Use:
    """A note that was written for a question: the edit that it belongs to, and by how much the question is in scope."""

    edit: str
    score: float


class Annotator(Protocol):
    """What writes notes into conversations."""

    @property
    def position(self) -> int:
        """Return its place among the annotators of a model: a higher one writes later."""
        ...

    def choose(self, model: EditableModel, question: str, earlier: str | None) -> Sequence[Use]:
        """Return the notes that a user's message asks for, given the one before; none if it is out of scope."""
        ...

    def write(self, messages: Sequence[Renderable], uses: Sequence[Use]) -> Sequence[Renderable]:
        """Return messages, of which the last is the user's, with some notes."""
        ...

    def report(self, row: int, uses: Sequence[Use]) -> None:
        """Tell those who listen that some notes were written into the conversation of a row of a batch."""
        ...


@dataclass(frozen=True)
class Annotated:
    """Messages with the notes that were written into them, and who wrote which."""

    messages: Sequence[Renderable]
    uses: Sequence[tuple[Annotator, Sequence[Use]]] = ()


def annotate(model: EditableModel, messages: Sequence[Renderable]) -> Annotated:
    """Return messages with the notes that the user's last one asks for; as they are if the last is not the user's."""
    told = [message.to_json() for message in messages] if model.notes else []
    if not told or told[-1]["role"] != "user":
        return Annotated(messages)
    asked = [one["content"] for one in told if one["role"] == "user"]
    question, earlier = asked[-1], asked[-2] if len(asked) > 1 else None
    ordered = sorted(model.notes, key=lambda one: one.position)
    found = [(one, uses) for one in ordered if (uses := one.choose(model, question, earlier))]
    for annotator, uses in found:
        messages = annotator.write(messages, uses)
    return Annotated(messages, found)


def annotate_prompts(model: EditableModel, prompts: Sequence[str], *, record: bool = False) -> list[str]:
    """Return prompts as the model reads them: conversations with their notes, other prompts as they are.

    Args:
        record: tell those who listen which notes were written; of several renderings of one prompt only one does.
    """
    if not model.notes:
        return list(prompts)
    read = []
    for row, prompt in enumerate(prompts):
        if not isinstance(prompt, Conversation):
            read.append(prompt)
            continue
        made = annotate(model, prompt.messages)
        for annotator, uses in made.uses if record else ():
            annotator.report(row, uses)
        read.append(Conversation([message.to_json() for message in made.messages]) if made.uses else prompt)
    return read
