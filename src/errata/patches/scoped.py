"""Scoped patches: answers that are given wherever their question is asked, in whatever words.

    scope    in a conversation the user's message decides which edit answers, whatever stands before it; in running
             text the beginning of the sentence, where the model is about to say what it said at the edit's prompt
             (`errata.scope`)
    effect   a value at every token of the answer takes the place of a block's output, as long as what was written so
             far is what the answer begins with

Knows entries, their values and files. What holds of everything bound to questions is in `asked`; how values were found
is no concern here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Unpack

import torch
from torch import Tensor

from errata.errors import BadPatch, WrongModel
from errata.models.arch import Arch
from errata.models.readout import Readout
from errata.patches.asked import AskedPatch
from errata.patches.bound import REMEMBERED, BoundOptions
from errata.patches.places import Place, Row
from errata.patches.sentences import answers_in_text, following
from errata.patches.turns import Turn
from errata.scope import Form
from errata.scope.vocabulary import Vocabulary

if TYPE_CHECKING:
    from errata.models import EditableModel


@dataclass(frozen=True, eq=False)
class Answered:
    """One edit's question and answer.

    Attributes:
        edit: id of the edit.
        question: the user's message that asks for it, or the beginning of a sentence.
        earlier: the user's message before that one, if the question is only understood after it.
        label: ids of the answer, its end included if it has one.
        values: (len(label), d) float32 on the CPU: what stands in place of the state that predicts each of them.
        form: "chat" or "text".
        expected: the id that the unedited model writes after the sentence; of a message None.
    """

    edit: str
    question: str
    earlier: str | None
    label: tuple[int, ...]
    values: Tensor
    form: Form = "chat"
    expected: int | None = None

    @cached_property
    def code(self) -> int:
        """A number that stands for the entry in every process."""
        return int.from_bytes(hashlib.sha256(f"{self.edit} {self.question}".encode()).digest()[:7], "big") + 1


class ScopedPatch(AskedPatch[Answered]):
    """Answers questions of a conversation, and those that running text comes to.

    Attributes:
        longest: tokens of the longest answer.
    """

    kind: ClassVar[str] = "scoped"

    def __init__(self, layer: int, entries: Sequence[Answered], **options: Unpack[BoundOptions]) -> None:
        super().__init__(layer, entries, **options)
        if any(entry.values.shape[0] != len(entry.label) or not entry.label for entry in self.entries):
            raise BadPatch("a scoped patch needs one value for every token of an answer; the file is damaged")
        if any((entry.form == "text") == (entry.expected is None) for entry in self.entries):
            raise BadPatch("a scoped patch needs to know what the model says after a sentence; the file is damaged")
        self.longest = max((len(entry.label) for entry in self.entries), default=0)
        self._asked: dict[tuple[str, str], list[tuple[float, Answered]]] = {}

    @cached_property
    def sentences(self) -> dict[int, Answered]:
        """Entries that are bound to sentences, by their codes."""
        return {entry.code: entry for entry in self.entries if entry.form == "text"}

    def asked_by(self, model: EditableModel, sentence: str) -> list[tuple[float, Answered]]:
        """Return the entries that the beginning of a sentence asks for with their scores, the best first."""
        key = (Vocabulary.of(model).digest, sentence)
        if key not in self._asked:
            if len(self._asked) >= REMEMBERED:
                self._asked = {}
            self._asked[key] = self.questions(model).asked_by(sentence)
        return self._asked[key]

    # -- effect --------------------------------------------------------------------------------------------------

    def module(self, arch: Arch) -> str:
        return arch.blocks[self.layer]

    def places(self, row: Row, turn: Turn, entry: Answered, score: float) -> list[Place]:
        return following(self, row, turn.start - 1, entry, score)

    def places_in_text(self, model: EditableModel, rows: Sequence[Row], marks: Tensor, hidden: Tensor) -> list[Place]:
        return answers_in_text(model, self, rows, marks, hidden) if self.sentences else []

    def states(self, places: Sequence[Place], own: Tensor, read: Tensor | None) -> Tensor:
        return torch.stack([place.entry.values[place.step] for place in places])

    def fit_to(self, model: EditableModel) -> None:
        if any(entry.values.shape[1] != model.width for entry in self.entries):
            raise WrongModel(f"the patch holds states of another width than this model's, {model.width}")
        if self.sentences:
            if self.layer != len(model.arch.blocks) - 1:
                raise WrongModel(f"the patch answers in running text at block {self.layer}, which is not the last")
            Readout.of(model)

    # -- files ---------------------------------------------------------------------------------------------------

    def entry_header(self, entry: Answered) -> dict[str, Any]:
        expected = {} if entry.expected is None else {"expected": entry.expected}
        return {"label": list(entry.label), **expected}

    def entry_tensors(self) -> dict[str, Tensor]:
        return {"values": torch.cat([entry.values for entry in self.entries]) if self.entries else torch.empty(0, 0)}

    @classmethod
    def entries_of(cls, told: Sequence[Mapping[str, Any]], tensors: Mapping[str, Tensor]) -> Sequence[Answered]:
        values = tensors["values"]
        sizes = [len(one["label"]) for one in told]
        if sum(sizes) != len(values) or values.dtype != torch.float32:
            raise BadPatch(f"a scoped patch of {sum(sizes)} tokens has {len(values)} values; the file is damaged")
        entries = [
            Answered(
                one["edit"], one["question"], one["earlier"], tuple(one["label"]), part,
                "text" if "expected" in one else "chat", one.get("expected"),
            )
            for one, part in zip(told, values.split(sizes) if sizes else (), strict=True)
        ]  # fmt: skip
        return entries
