"""Note patches: corrections that are written into a conversation whose question asks for them (in-context editing).

    scope    the user's message decides which corrections are given (`errata.scope`), whatever stands before it
    effect   the model reads them before it answers: in the user's message, in the system message, or as earlier turns

No state and no weight is changed, so what is given as token ids is not touched. Knows entries, their scorer and their
files. Where conversations are rendered is in `models.notes`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Unpack, get_args

from torch import Tensor

from errata.errors import BadPatch, WrongModel
from errata.models.chat import Renderable
from errata.models.notes import Use
from errata.patches.bound import BoundOptions, BoundPatch
from errata.patches.records import listening
from errata.patches.states import Firing
from errata.prompts import Message
from errata.scope import Form
from errata.words import words

if TYPE_CHECKING:
    from errata.models import EditableModel

Place = Literal["user", "system", "turn"]


@dataclass(frozen=True)
class Noted:
    """One edit's question and what is said of it.

    Attributes:
        edit: id of the edit.
        question: the user's message that asks for it.
        earlier: the user's message before that one, if the question is only understood after it.
        note: the correction as a text of its own.
        answer: the corrected answer, which an earlier turn gives.
        form: how it is bound: to messages of a conversation.
    """

    edit: str
    question: str
    earlier: str | None
    note: str
    answer: str
    form: Form = "chat"

    @property
    def wording(self) -> tuple[tuple[str, ...], ...]:
        """Words of the question: an entry of the same words replaces an older one."""
        return tuple(words(self.question)), tuple(words(self.earlier or ""))


class NotePatch(BoundPatch[Noted]):
    """Writes corrections into conversations.

    Attributes:
        place: where: "user", before the question in the user's message; "system", in the system message, which is made
            where there is none; "turn", question and answer as the turns before the question.
        most: corrections given at a time; the best comes last, nearest to the question.
    """

    kind: ClassVar[str] = "note"
    where: ClassVar[tuple[str, ...]] = ("place", "most")

    def __init__(self, entries: Sequence[Noted], *, place: Place, most: int, **options: Unpack[BoundOptions]) -> None:
        super().__init__(entries, **options)
        if place not in get_args(Place):
            raise BadPatch(f"a note patch names the place {place!r}; use user, system or turn")
        self.place: Place = place
        self.most = most
        self._of = {entry.edit: entry for entry in self.entries}

    # -- writing: an Annotator ---------------------------------------------------------------------------------

    @property
    def position(self) -> int:
        return self.order or 0

    def choose(self, model: EditableModel, question: str, earlier: str | None) -> list[Use]:
        """Return the notes in scope, at most `most` and the best last; of equal questions the newest alone."""
        chosen: dict[Any, Use] = {}
        for edit, score in self.decide(model, question, earlier).scores:
            wording = self._of[edit].wording
            other = chosen.get(wording)
            if score > 0 and (other is None or self._newest[edit] > self._newest[other.edit]):
                chosen[wording] = Use(edit, score)
        return list(chosen.values())[: self.most][::-1]

    def write(self, messages: Sequence[Renderable], uses: Sequence[Use]) -> list[Renderable]:
        entries = [self._of[use.edit] for use in uses]
        *before, last = messages
        if self.place == "turn":
            turns = [(Message("user", one.question), Message("assistant", one.answer)) for one in entries]
            return [*before, *(message for turn in turns for message in turn), last]
        notes = "\n".join(entry.note for entry in entries)
        if self.place == "user":
            return [*before, Message("user", f"{notes}\n\n{last.to_json()['content']}")]
        if before and (first := before[0].to_json())["role"] == "system":
            return [Message("system", f"{first['content']}\n\n{notes}".strip()), *before[1:], last]
        return [Message("system", notes), *before, last]

    def report(self, row: int, uses: Sequence[Use]) -> None:
        for firings in listening(self):
            firings += [Firing(row, 0, use.edit, -use.score, 0.0, 0, use.score) for use in uses]

    def _attach(self, model: EditableModel) -> None:
        if model.task != "causal" or model.chat is None:
            raise WrongModel(f"{model.name} has no chat template, and this patch writes notes into conversations")
        self.questions(model)  # the work is done here rather than in the first answer
        model.notes.append(self)

    def _detach(self, model: EditableModel) -> None:
        model.notes[:] = [one for one in model.notes if one is not self]

    # -- files ---------------------------------------------------------------------------------------------------

    def entry_header(self, entry: Noted) -> dict[str, Any]:
        return {"note": entry.note, "answer": entry.answer}

    def entry_tensors(self) -> dict[str, Tensor]:
        return {}

    @classmethod
    def entries_of(cls, told: Sequence[Mapping[str, Any]], tensors: Mapping[str, Tensor]) -> Sequence[Noted]:
        return [Noted(one["edit"], one["question"], one["earlier"], one["note"], one["answer"]) for one in told]
