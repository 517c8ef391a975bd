"""Scoped patches: answers that are given wherever their question is asked, in whatever words.

    scope    in a conversation the user's message decides which edit answers, whatever stands before it; in running
             text the beginning of the sentence, where the model is about to say what it said at the edit's prompt
             (`errata.scope`)
    effect   a value at every token of the answer takes the place of a block's output, as long as what was written so
             far is what the answer begins with

Knows entries, their scorers and their files. How a running model is followed is in `listening`; how values were found
is no concern here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from errata.errors import BadPatch, WrongModel
from errata.models.readout import Readout
from errata.patches.base import Patch
from errata.patches.records import RecordedPatch
from errata.scope import Decision, Form, Questions, Scorer
from errata.scope.vocabulary import Vocabulary

if TYPE_CHECKING:
    from errata.models import EditableModel

_SCORERS: dict[Form, str] = {"chat": "scorer.", "text": "text_scorer."}  # what their tensors are called in a file
REMEMBERED = 4096  # decisions


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


class ScopedPatch(RecordedPatch):
    """Answers questions of a conversation, and those that running text comes to.

    Attributes:
        layer: index of the block whose output is replaced.
        digest: of the scorers (SHA-256, hex).
        scorers: by form; none in an increment, which leaves them to another of its slot.
        entries: in order.
        longest: tokens of the longest answer.
    """

    kind: ClassVar[str] = "scoped"

    def __init__(
        self,
        layer: int,
        entries: Sequence[Answered],
        *,
        scorers: Mapping[Form, Scorer],
        digest: str,
        encoder: str,
        method: str,
        config: Mapping[str, Any],
        edits: Sequence[str],
        order: int | None = None,
    ) -> None:
        super().__init__(method=method, config=config, edits=edits, order=order)
        self.layer, self.scorers, self.digest, self.encoder = layer, dict(scorers), digest, encoder
        self.entries = tuple(entries)
        if unknown := {entry.edit for entry in self.entries} - set(self.edits):
            raise BadPatch(f"a scoped patch holds an answer of edit '{min(unknown)}', which it does not list")
        if any(entry.values.shape[0] != len(entry.label) or not entry.label for entry in self.entries):
            raise BadPatch("a scoped patch needs one value for every token of an answer; the file is damaged")
        if any((entry.form == "text") == (entry.expected is None) for entry in self.entries):
            raise BadPatch("a scoped patch needs to know what the model says after a sentence; the file is damaged")
        self.longest = max((len(entry.label) for entry in self.entries), default=0)
        self._newest = {edit: place for place, edit in enumerate(self.edits)}
        self._known: dict[str, Questions[Answered]] = {}  # by the vocabulary's digest: models that share it share them
        self._decided: dict[tuple[str, str, str | None], Decision[Answered]] = {}
        self._asked: dict[tuple[str, str], list[tuple[float, Answered]]] = {}

    @cached_property
    def sentences(self) -> dict[int, Answered]:
        """Entries that are bound to sentences, by their codes."""
        return {entry.code: entry for entry in self.entries if entry.form == "text"}

    # -- deciding ------------------------------------------------------------------------------------------------

    def decide(self, model: EditableModel, question: str, earlier: str | None) -> Decision[Answered]:
        """Return the edit that answers a user's message, given the one before; the same words are decided once."""
        vocabulary = Vocabulary.of(model)
        key = (vocabulary.digest, question, earlier)
        if key not in self._decided:
            if len(self._decided) >= REMEMBERED:
                self._decided = {}
            self._decided[key] = self.questions(model).answer(question, earlier, self._newest.__getitem__)
        return self._decided[key]

    def asked_by(self, model: EditableModel, sentence: str) -> list[tuple[float, Answered]]:
        """Return the entries that the beginning of a sentence asks for with their scores, the best first."""
        key = (Vocabulary.of(model).digest, sentence)
        if key not in self._asked:
            if len(self._asked) >= REMEMBERED:
                self._asked = {}
            self._asked[key] = self.questions(model).asked_by(sentence)
        return self._asked[key]

    def questions(self, model: EditableModel) -> Questions[Answered]:
        """Return the entries by what they are bound to, as a model's own words are compared."""
        digest = Vocabulary.of(model).digest
        if digest not in self._known:
            if not self.scorers:
                raise BadPatch("an increment of a scoped patch has no scorer; join it with the one that has")
            self._known[digest] = Questions.empty(self.scorers, self.encoder, model).extended(self.entries)
        return self._known[digest]

    def _attach(self, model: EditableModel) -> None:
        from errata.patches import listening

        if model.task != "causal" or (model.chat is None and len(self.sentences) < len(self.entries)):
            raise WrongModel(f"{model.name} has no chat template, and this patch answers in conversations")
        if not 0 <= self.layer < len(model.arch.blocks):
            raise WrongModel(f"the patch is for block {self.layer}; this model has {len(model.arch.blocks)} blocks")
        if any(entry.values.shape[1] != model.width for entry in self.entries):
            raise WrongModel(f"the patch holds states of another width than this model's, {model.width}")
        if self.sentences:
            if self.layer != len(model.arch.blocks) - 1:
                raise WrongModel(f"the patch answers in running text at block {self.layer}, which is not the last")
            Readout.of(model)
        self.questions(model)  # the work is done here rather than in the first answer
        listening.join(model, self)

    def _detach(self, model: EditableModel) -> None:
        from errata.patches import listening

        listening.leave(model, self)

    # -- composing -----------------------------------------------------------------------------------------------

    @property
    def slot(self) -> tuple[Any, ...]:
        return (self.kind, self.method, self.layer, self.digest)

    @property
    def partial(self) -> bool:
        return not self.scorers

    def increment(self, previous: Patch | None) -> ScopedPatch:
        if previous is None:
            return self
        known = set(previous.edits)
        return self._with([edit for edit in self.edits if edit not in known], scorers={})

    @classmethod
    def extended(cls, previous: Patch | None, increment: Patch) -> Patch:
        if previous is None:
            return increment
        joined = cls.joined([previous, increment])
        if isinstance(previous, ScopedPatch) and isinstance(increment, ScopedPatch):
            joined._known = {name: known.extended(increment.entries) for name, known in list(previous._known.items())}
        return joined

    @classmethod
    def joined(cls, parts: Sequence[Patch]) -> ScopedPatch:
        scoped = [part for part in parts if isinstance(part, ScopedPatch)]
        last = scoped[-1]
        if len(scoped) < len(parts) or any(one.slot != last.slot for one in scoped):
            raise BadPatch("only scoped patches of one block and scorer make one patch; stack the patches instead")
        scorers = next((one.scorers for one in scoped if one.scorers), {})
        return cls(
            last.layer, [entry for one in scoped for entry in one.entries], scorers=scorers, digest=last.digest,
            encoder=last.encoder, method=last.method, config=last.config,
            edits=[edit for one in scoped for edit in one.edits],
        )  # fmt: skip

    def _only(self, kept: tuple[str, ...]) -> ScopedPatch:
        found = self._with(kept, scorers=self.scorers)
        gone = set(self.edits).difference(kept)
        found._known = {name: known.without(gone) for name, known in list(self._known.items())}
        return found

    def _with(self, edits: Sequence[str], *, scorers: Mapping[Form, Scorer]) -> ScopedPatch:
        chosen = set(edits)
        return ScopedPatch(
            self.layer, [entry for entry in self.entries if entry.edit in chosen], scorers=scorers, digest=self.digest,
            encoder=self.encoder, method=self.method, config=self.config, edits=edits, order=self.order,
        )  # fmt: skip

    # -- files ---------------------------------------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "layer": self.layer, "encoder": self.encoder, "keys": len(self.entries)}

    def header(self) -> dict[str, Any]:
        told = [
            {
                "edit": one.edit, "question": one.question, "earlier": one.earlier, "label": list(one.label),
                **({} if one.expected is None else {"expected": one.expected}),
            }
            for one in self.entries
        ]
        return {
            **super().header(), "layer": self.layer, "encoder": self.encoder, "digest": self.digest, "entries": told
        }

    def tensors(self) -> dict[str, Tensor]:
        values = torch.cat([entry.values for entry in self.entries]) if self.entries else torch.empty(0, 0)
        own = {
            _SCORERS[form] + name: part for form, one in self.scorers.items() for name, part in one.tensors().items()
        }
        return {"values": values, **own}

    @classmethod
    def from_parts(cls, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> ScopedPatch:
        told, values = header["entries"], tensors["values"]
        sizes = [len(one["label"]) for one in told]
        if sum(sizes) != len(values) or values.dtype != torch.float32:
            raise BadPatch(f"a scoped patch of {sum(sizes)} tokens has {len(values)} values; the file is damaged")
        entries = [
            Answered(
                one["edit"], one["question"], one["earlier"], tuple(one["label"]), part,
                "text" if "expected" in one else "chat", one.get("expected"),
            )
            for one, part in zip(told, values.split(sizes) if sizes else (), strict=True)
        ]
        own: dict[Form, dict[str, Tensor]] = {form: {} for form in _SCORERS}
        for form, prefix in _SCORERS.items():
            own[form] = {name.removeprefix(prefix): part for name, part in tensors.items() if name.startswith(prefix)}
        return cls(
            int(header["layer"]), entries,
            scorers={form: Scorer.of(header["encoder"], parts) for form, parts in own.items() if parts},
            digest=str(header["digest"]), encoder=str(header["encoder"]), method=header["method"],
            config=header["config"], edits=header["edits"],
        )  # fmt: skip


def digest_of(scorers: Mapping[Form, Scorer]) -> str:
    """Return a SHA-256 (hex) of scorers: patches of one digest make one."""
    made = hashlib.sha256()
    for form, scorer in sorted(scorers.items()):
        made.update(f"{form} {scorer.encoder}".encode())
        for name, tensor in sorted(scorer.tensors().items()):
            made.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return made.hexdigest()
