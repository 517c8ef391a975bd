"""Note patches: corrections that are written into a conversation whose question asks for them (in-context editing).

    scope    the user's message decides which corrections are given (`errata.scope`), whatever stands before it
    effect   the model reads them before it answers: in the user's message, in the system message, or as earlier turns

No state and no weight is changed, so what is given as token ids is not touched. Knows entries, their scorer and their
files. Where conversations are rendered is in `models.notes`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from torch import Tensor

from errata.errors import BadPatch, WrongModel
from errata.models.chat import Renderable
from errata.models.notes import Use
from errata.patches.base import Patch
from errata.patches.records import RecordedPatch, listening
from errata.patches.states import Firing
from errata.prompts import Message
from errata.scope import Scorer
from errata.scope.questions import Decision, Questions
from errata.scope.scorer import Form
from errata.scope.vocabulary import Vocabulary
from errata.words import words

if TYPE_CHECKING:
    from errata.models import EditableModel

Place = Literal["user", "system", "turn"]

_SCORER = "scorer."
REMEMBERED = 4096  # decisions


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
    def asked(self) -> tuple[tuple[str, ...], ...]:
        """Words of the question: an entry of the same words replaces an older one."""
        return tuple(words(self.question)), tuple(words(self.earlier or ""))


class NotePatch(RecordedPatch):
    """Writes corrections into conversations.

    Attributes:
        place: where: "user", before the question in the user's message; "system", in the system message, which is made
            where there is none; "turn", question and answer as the turns before the question.
        most: corrections given at a time; the best comes last, nearest to the question.
        digest: of the scorer (SHA-256, hex).
        scorer: None in an increment, which leaves it to another of its slot.
        entries: in order.
    """

    kind: ClassVar[str] = "note"

    def __init__(
        self,
        entries: Sequence[Noted],
        *,
        place: Place,
        most: int,
        scorer: Scorer | None,
        digest: str,
        encoder: str,
        method: str,
        config: Mapping[str, Any],
        edits: Sequence[str],
        order: int | None = None,
    ) -> None:
        super().__init__(method=method, config=config, edits=edits, order=order)
        self.place: Place = place
        self.most, self.scorer, self.digest, self.encoder = most, scorer, digest, encoder
        self.entries = tuple(entries)
        if unknown := {entry.edit for entry in self.entries} - set(self.edits):
            raise BadPatch(f"a note patch holds a note of edit '{min(unknown)}', which it does not list")
        self._of = {entry.edit: entry for entry in self.entries}
        self._newest = {edit: number for number, edit in enumerate(self.edits)}
        self._known: dict[str, Questions[Noted]] = {}  # by the vocabulary's digest: models that share it share them
        self._decided: dict[tuple[str, str, str | None], Decision[Noted]] = {}

    # -- deciding ------------------------------------------------------------------------------------------------

    def decide(self, model: EditableModel, question: str, earlier: str | None) -> Decision[Noted]:
        """Return the edits that a user's message asks for, given the one before; the same words are decided once."""
        vocabulary = Vocabulary.of(model)
        key = (vocabulary.digest, question, earlier)
        if (found := self._decided.get(key)) is None:
            found = self._questions(model, vocabulary).answer(question, earlier, self._newest.__getitem__)
            if len(self._decided) >= REMEMBERED:
                self._decided = {}
            self._decided[key] = found
        return found

    def _questions(self, model: EditableModel, vocabulary: Vocabulary) -> Questions[Noted]:
        if vocabulary.digest not in self._known:
            if self.scorer is None:
                raise BadPatch("an increment of a note patch has no scorer; join it with the one that has")
            empty: Questions[Noted] = Questions.empty({"chat": self.scorer}, self.encoder, model)
            self._known[vocabulary.digest] = empty.extended(self.entries)
        return self._known[vocabulary.digest]

    # -- writing: an Annotator ---------------------------------------------------------------------------------

    @property
    def position(self) -> int:
        return self.order or 0

    def choose(self, model: EditableModel, question: str, earlier: str | None) -> list[Use]:
        """Return the notes in scope, at most `most` and the best last; of equal questions the newest alone."""
        chosen: dict[Any, Use] = {}
        for edit, score in self.decide(model, question, earlier).scores:
            asked = self._of[edit].asked
            other = chosen.get(asked)
            if score > 0 and (other is None or self._newest[edit] > self._newest[other.edit]):
                chosen[asked] = Use(edit, score)
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
        self._questions(model, Vocabulary.of(model))  # the work is done here rather than in the first answer
        model.notes.append(self)

    def _detach(self, model: EditableModel) -> None:
        model.notes[:] = [one for one in model.notes if one is not self]

    # -- composing -----------------------------------------------------------------------------------------------

    @property
    def slot(self) -> tuple[Any, ...]:
        return (self.kind, self.method, self.place, self.most, self.digest)

    @property
    def partial(self) -> bool:
        return self.scorer is None

    def increment(self, previous: Patch | None) -> NotePatch:
        if previous is None:
            return self
        known = set(previous.edits)
        return self._with([edit for edit in self.edits if edit not in known], scorer=None)

    @classmethod
    def extended(cls, previous: Patch | None, increment: Patch) -> Patch:
        if previous is None:
            return increment
        joined = cls.joined([previous, increment])
        if isinstance(previous, NotePatch) and isinstance(increment, NotePatch):
            joined._known = {name: one.extended(increment.entries) for name, one in list(previous._known.items())}
        return joined

    @classmethod
    def joined(cls, parts: Sequence[Patch]) -> NotePatch:
        noted = [part for part in parts if isinstance(part, NotePatch)]
        last = noted[-1]
        if len(noted) < len(parts) or any(one.slot != last.slot for one in noted):
            raise BadPatch("only note patches of one place and scorer make one patch; stack the patches instead")
        return cls(
            [entry for one in noted for entry in one.entries], place=last.place, most=last.most,
            scorer=next((one.scorer for one in noted if one.scorer is not None), None), digest=last.digest,
            encoder=last.encoder, method=last.method, config=last.config,
            edits=[edit for one in noted for edit in one.edits],
        )  # fmt: skip

    def _only(self, kept: tuple[str, ...]) -> NotePatch:
        made = self._with(kept, scorer=self.scorer)
        gone = set(self.edits) - set(kept)
        made._known = {name: one.without(gone) for name, one in list(self._known.items())}
        return made

    def _with(self, edits: Sequence[str], *, scorer: Scorer | None) -> NotePatch:
        chosen = set(edits)
        return NotePatch(
            [entry for entry in self.entries if entry.edit in chosen], place=self.place, most=self.most,
            scorer=scorer, digest=self.digest, encoder=self.encoder, method=self.method, config=self.config,
            edits=edits, order=self.order,
        )  # fmt: skip

    # -- files ---------------------------------------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "place": self.place, "encoder": self.encoder, "notes": len(self.entries)}

    def header(self) -> dict[str, Any]:
        told = [
            {"edit": e.edit, "question": e.question, "earlier": e.earlier, "note": e.note, "answer": e.answer}
            for e in self.entries
        ]
        return {
            **super().header(), "place": self.place, "most": self.most, "encoder": self.encoder,
            "digest": self.digest, "entries": told,
        }  # fmt: skip

    def tensors(self) -> dict[str, Tensor]:
        scorer = {} if self.scorer is None else self.scorer.tensors()
        return {_SCORER + name: tensor for name, tensor in scorer.items()}

    @classmethod
    def from_parts(cls, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> NotePatch:
        if header["place"] not in ("user", "system", "turn"):
            raise BadPatch(f"a note patch names the place {header['place']!r}; use user, system or turn")
        entries = [
            Noted(one["edit"], one["question"], one["earlier"], one["note"], one["answer"]) for one in header["entries"]
        ]
        own = {name.removeprefix(_SCORER): part for name, part in tensors.items()}
        return cls(
            entries, place=header["place"], most=int(header["most"]),
            scorer=Scorer.of(header["encoder"], own) if own else None, digest=str(header["digest"]),
            encoder=str(header["encoder"]), method=header["method"], config=header["config"], edits=header["edits"],
        )  # fmt: skip
