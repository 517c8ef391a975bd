"""Scoped patches: answers that are given wherever their question is asked in a conversation, in whatever words.

    scope    the user's message decides which edit answers (`errata.scope`), whatever stands before it
    effect   a value at every token of the answer takes the place of the last block's output, as long as what was
             written so far is what the answer begins with

Knows entries, their scorer and their files. How a running model is followed is in `listening`; how values were found is
no concern here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from errata.errors import BadPatch, WrongModel
from errata.patches.base import Patch
from errata.patches.records import RecordedPatch
from errata.scope import Index, Scorer
from errata.scope.encoders import encoder_for
from errata.scope.vocabulary import Vocabulary

if TYPE_CHECKING:
    from errata.models import EditableModel

_SCORER = "scorer."


@dataclass(frozen=True, eq=False)
class Answered:
    """One edit's question and answer.

    Attributes:
        edit: id of the edit.
        question: the user's message that asks for it.
        earlier: the user's message before that one, if the question is only understood after it.
        label: ids of the answer, its end included.
        values: (len(label), d) float32 on the CPU: what stands in place of the state that predicts each of them.
    """

    edit: str
    question: str
    earlier: str | None
    label: tuple[int, ...]
    values: Tensor

    @property
    def text(self) -> str:
        """What is compared with what a user asks."""
        return asked_text(self.question, self.earlier)


def asked_text(question: str, earlier: str | None) -> str:
    """Return a question as one text, with the one before it where that is given."""
    return question if earlier is None else f"{earlier}\n{question}"


@dataclass(frozen=True)
class Decision:
    """Which edit answers a question, and what else came near: ids of edits with their scores, the best first."""

    entry: Answered | None
    scores: tuple[tuple[str, float], ...]


class ScopedPatch(RecordedPatch):
    """Answers questions of a conversation.

    Attributes:
        layer: index of the block whose output is replaced.
        digest: of the scorer (SHA-256, hex).
        scorer: None in an increment, which leaves it to another of its slot.
        entries: in order.
        longest: tokens of the longest answer.
    """

    kind: ClassVar[str] = "scoped"

    def __init__(
        self,
        layer: int,
        entries: Sequence[Answered],
        *,
        scorer: Scorer | None,
        digest: str,
        encoder: str,
        method: str,
        config: Mapping[str, Any],
        edits: Sequence[str],
        order: int | None = None,
    ) -> None:
        super().__init__(method=method, config=config, edits=edits, order=order)
        self.layer, self.scorer, self.digest, self.encoder = layer, scorer, digest, encoder
        self.entries = tuple(entries)
        if unknown := {entry.edit for entry in self.entries} - set(self.edits):
            raise BadPatch(f"a scoped patch holds an answer of edit '{min(unknown)}', which it does not list")
        if any(entry.values.shape[0] != len(entry.label) or not entry.label for entry in self.entries):
            raise BadPatch("a scoped patch needs one value for every token of an answer; the file is damaged")
        self.longest = max((len(entry.label) for entry in self.entries), default=0)
        self._indices: dict[tuple[int, bool], tuple[Index, list[Answered]]] = {}
        self._decided: dict[tuple[str, str | None], Decision] = {}

    # -- deciding ------------------------------------------------------------------------------------------------

    def decide(self, model: EditableModel, question: str, earlier: str | None) -> Decision:
        """Return the edit that answers a user's message, given the one before; the same words are decided once."""
        key = (question, earlier)
        if key not in self._decided:
            self._decided[key] = self._decision(model, question, earlier)
        return self._decided[key]

    def _decision(self, model: EditableModel, question: str, earlier: str | None) -> Decision:
        found: list[tuple[float, int, Answered]] = []
        for bound in (False, True):
            index, entries = self._index(model, bound)
            if not entries or (bound and earlier is None):
                continue
            for hit in index.search(asked_text(question, earlier if bound else None)):
                found.append((hit.score, hit.key, entries[hit.key]))
        found.sort(key=lambda one: one[:2], reverse=True)
        best = found[0] if found and found[0][0] > 0 else None
        scores = {entry.edit: score for score, _, entry in reversed(found)}
        ranked = tuple(sorted(scores.items(), key=lambda one: -one[1]))
        return Decision(best[2] if best else None, ranked)

    def _index(self, model: EditableModel, bound: bool) -> tuple[Index, list[Answered]]:
        key = (id(model.model), bound)
        if key not in self._indices:
            if self.scorer is None:
                raise BadPatch("an increment of a scoped patch has no scorer; join it with the one that has")
            entries = [entry for entry in self.entries if (entry.earlier is not None) == bound]
            vocabulary, encoder = Vocabulary.of(model), encoder_for(self.encoder, model)
            self._indices[key] = (Index(self.scorer, encoder, vocabulary, [e.text for e in entries]), entries)
        return self._indices[key]

    def _attach(self, model: EditableModel) -> None:
        from errata.patches import listening

        if model.task != "causal" or model.chat is None:
            raise WrongModel(f"{model.name} has no chat template, and this patch answers in conversations")
        if not 0 <= self.layer < len(model.arch.blocks):
            raise WrongModel(f"the patch is for block {self.layer}; this model has {len(model.arch.blocks)} blocks")
        if any(entry.values.shape[1] != model.width for entry in self.entries):
            raise WrongModel(f"the patch holds states of another width than this model's, {model.width}")
        self._index(model, False)  # the work is done here rather than in the first answer
        listening.join(model, self)

    def _detach(self, model: EditableModel) -> None:
        from errata.patches import listening

        listening.leave(model, self)
        for bound in (False, True):
            self._indices.pop((id(model.model), bound), None)

    # -- composing -----------------------------------------------------------------------------------------------

    @property
    def slot(self) -> tuple[Any, ...]:
        return (self.kind, self.method, self.layer, self.digest)

    @property
    def partial(self) -> bool:
        return self.scorer is None

    def increment(self, previous: Patch | None) -> ScopedPatch:
        if previous is None:
            return self
        known = set(previous.edits)
        return self._with([edit for edit in self.edits if edit not in known], scorer=None)

    @classmethod
    def extended(cls, previous: Patch | None, increment: Patch) -> Patch:
        if previous is None:
            return increment
        joined = cls.joined([previous, increment])
        if isinstance(previous, ScopedPatch) and isinstance(increment, ScopedPatch):
            joined._grow(previous._indices, increment.entries)
        return joined

    def _grow(
        self, known: Mapping[tuple[int, bool], tuple[Index, list[Answered]]], entries: Sequence[Answered]
    ) -> None:
        """Take over the indices of a shorter patch, with these entries added."""
        for (network, bound), (index, earlier) in known.items():
            new = [entry for entry in entries if (entry.earlier is not None) == bound]
            grown = index.extended([entry.text for entry in new]) if new else index
            self._indices[network, bound] = (grown, [*earlier, *new])

    @classmethod
    def joined(cls, parts: Sequence[Patch]) -> ScopedPatch:
        scoped = [part for part in parts if isinstance(part, ScopedPatch)]
        last = scoped[-1]
        if len(scoped) < len(parts) or any(one.slot != last.slot for one in scoped):
            raise BadPatch("only scoped patches of one block and scorer make one patch; stack the patches instead")
        scorer = next((one.scorer for one in scoped if one.scorer is not None), None)
        return cls(
            last.layer, [entry for one in scoped for entry in one.entries], scorer=scorer, digest=last.digest,
            encoder=last.encoder, method=last.method, config=last.config,
            edits=[edit for one in scoped for edit in one.edits],
        )  # fmt: skip

    def _only(self, kept: tuple[str, ...]) -> ScopedPatch:
        return self._with(kept, scorer=self.scorer)

    def _with(self, edits: Sequence[str], *, scorer: Scorer | None) -> ScopedPatch:
        chosen = set(edits)
        return ScopedPatch(
            self.layer, [entry for entry in self.entries if entry.edit in chosen], scorer=scorer, digest=self.digest,
            encoder=self.encoder, method=self.method, config=self.config, edits=edits, order=self.order,
        )  # fmt: skip

    # -- files ---------------------------------------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "layer": self.layer, "encoder": self.encoder, "keys": len(self.entries)}

    def header(self) -> dict[str, Any]:
        told = [
            {"edit": one.edit, "question": one.question, "earlier": one.earlier, "label": list(one.label)}
            for one in self.entries
        ]
        return {
            **super().header(), "layer": self.layer, "encoder": self.encoder, "digest": self.digest, "entries": told
        }

    def tensors(self) -> dict[str, Tensor]:
        values = torch.cat([entry.values for entry in self.entries]) if self.entries else torch.empty(0, 0)
        scorer = {} if self.scorer is None else self.scorer.tensors()
        return {"values": values, **{_SCORER + name: tensor for name, tensor in scorer.items()}}

    @classmethod
    def from_parts(cls, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> ScopedPatch:
        told, values = header["entries"], tensors["values"]
        sizes = [len(one["label"]) for one in told]
        if sum(sizes) != len(values) or values.dtype != torch.float32:
            raise BadPatch(f"a scoped patch of {sum(sizes)} tokens has {len(values)} values; the file is damaged")
        entries = [
            Answered(one["edit"], one["question"], one["earlier"], tuple(one["label"]), part)
            for one, part in zip(told, values.split(sizes) if sizes else (), strict=True)
        ]
        own = {name.removeprefix(_SCORER): part for name, part in tensors.items() if name.startswith(_SCORER)}
        return cls(
            int(header["layer"]), entries, scorer=Scorer.of(header["encoder"], own) if own else None,
            digest=str(header["digest"]), encoder=str(header["encoder"]), method=header["method"],
            config=header["config"], edits=header["edits"],
        )  # fmt: skip


def digest_of(scorer: Scorer) -> str:
    """SHA-256 (hex) of a scorer: patches of one digest make one."""
    made = hashlib.sha256(scorer.encoder.encode())
    for name, tensor in sorted(scorer.tensors().items()):
        made.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return made.hexdigest()
