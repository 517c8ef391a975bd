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
REMEMBERED = 4096  # decisions


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


@dataclass(frozen=True)
class Keys:
    """Entries by whether they are bound to the message before, each kind with the index of its questions."""

    free: tuple[Answered, ...]
    free_index: Index
    bound: tuple[Answered, ...]
    bound_index: Index

    def extended(self, entries: Sequence[Answered]) -> Keys:
        """Return these with more entries after their own; what is there is not computed again."""
        free = tuple(entry for entry in entries if entry.earlier is None)
        bound = tuple(entry for entry in entries if entry.earlier is not None)
        return Keys(
            self.free + free, self.free_index.extended([entry.question for entry in free]),
            self.bound + bound, self.bound_index.extended([entry.question for entry in bound]),
        )  # fmt: skip


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
        self._newest = {edit: place for place, edit in enumerate(self.edits)}
        self._known: dict[str, Keys] = {}  # by the vocabulary's digest: models that share it share them
        self._decided: dict[tuple[str, str, str | None], Decision] = {}

    # -- deciding ------------------------------------------------------------------------------------------------

    def decide(self, model: EditableModel, question: str, earlier: str | None) -> Decision:
        """Return the edit that answers a user's message, given the one before; the same words are decided once."""
        vocabulary = Vocabulary.of(model)
        key = (vocabulary.digest, question, earlier)
        if key not in self._decided:
            if len(self._decided) >= REMEMBERED:
                self._decided = {}
            self._decided[key] = self._decision(self._keys(model, vocabulary), question, earlier)
        return self._decided[key]

    def _decision(self, keys: Keys, question: str, earlier: str | None) -> Decision:
        found = [(False, hit.score, keys.free[hit.key]) for hit in keys.free_index.search(question)]
        if earlier is not None and keys.bound:
            for hit in keys.bound_index.search(question):
                entry = keys.bound[hit.key]
                # The message before has to be the one that the edit came after, too.
                before = keys.bound_index.alike(str(entry.earlier), earlier)
                found.append((True, min(hit.score, before), entry))
        inside = [one for one in found if one[1] > 0]
        # What is bound to two messages is the more specific; of equals the newest edit stands.
        best = max(inside, key=lambda one: (one[0], one[1], self._newest[one[2].edit])) if inside else None
        scores: dict[str, float] = {}
        for _, score, entry in found:
            scores[entry.edit] = max(score, scores.get(entry.edit, score))
        ranked = sorted(scores.items(), key=lambda one: (best is None or one[0] != best[2].edit, -one[1]))
        return Decision(best[2] if best else None, tuple(ranked))

    def _keys(self, model: EditableModel, vocabulary: Vocabulary) -> Keys:
        if vocabulary.digest not in self._known:
            if self.scorer is None:
                raise BadPatch("an increment of a scoped patch has no scorer; join it with the one that has")
            empty = Index(self.scorer, encoder_for(self.encoder, model), vocabulary, ())
            self._known[vocabulary.digest] = Keys((), empty, (), empty).extended(self.entries)
        return self._known[vocabulary.digest]

    def _attach(self, model: EditableModel) -> None:
        from errata.patches import listening

        if model.task != "causal" or model.chat is None:
            raise WrongModel(f"{model.name} has no chat template, and this patch answers in conversations")
        if not 0 <= self.layer < len(model.arch.blocks):
            raise WrongModel(f"the patch is for block {self.layer}; this model has {len(model.arch.blocks)} blocks")
        if any(entry.values.shape[1] != model.width for entry in self.entries):
            raise WrongModel(f"the patch holds states of another width than this model's, {model.width}")
        self._keys(model, Vocabulary.of(model))  # the work is done here rather than in the first answer
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
            joined._known = {name: keys.extended(increment.entries) for name, keys in list(previous._known.items())}
        return joined

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
