"""Patches whose edits are bound to questions: what is common to all of them, whatever they do where one is asked.

    scope    which edit a conversation or a text asks for: `Questions`, by scorers that travel with the patch

Knows entries, their scorers and files.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NotRequired, Self, TypedDict, TypeVar

from torch import Tensor

from errata.errors import BadPatch
from errata.patches.base import Patch
from errata.patches.records import RecordedPatch
from errata.scope import Decision, Form, Questions, Scorer
from errata.scope.questions import Bound
from errata.scope.vocabulary import Vocabulary

if TYPE_CHECKING:
    from errata.models import EditableModel

_SCORERS: dict[Form, str] = {"chat": "scorer.", "text": "text_scorer."}  # what their tensors are called in a file
REMEMBERED = 4096  # decisions
E = TypeVar("E", bound=Bound)


class BoundOptions(TypedDict):
    """What every such patch is made with, besides its site and its entries."""

    scorers: Mapping[Form, Scorer]
    digest: str
    encoder: str
    method: str
    config: Mapping[str, Any]
    edits: Sequence[str]
    order: NotRequired[int | None]


class BoundPatch(RecordedPatch, Generic[E]):
    """Does something where a question is asked that one of its edits is bound to.

    Attributes:
        digest: of the scorers (SHA-256, hex).
        scorers: by form; none in an increment, which leaves them to another of its slot.
        entries: in order.
        where: names of the attributes that say where it acts, its site: patches that agree in them make one.
    """

    where: ClassVar[tuple[str, ...]]

    def __init__(
        self,
        entries: Sequence[E],
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
        self.scorers, self.digest, self.encoder = dict(scorers), digest, encoder
        self.entries = tuple(entries)
        if unknown := {entry.edit for entry in self.entries} - set(self.edits):
            raise BadPatch(f"a {self.kind} patch has an entry of edit '{min(unknown)}', which it does not list")
        self._newest = {edit: place for place, edit in enumerate(self.edits)}
        self._known: dict[str, Questions[E]] = {}  # by the vocabulary's digest: models that share it share them
        self._decided: dict[tuple[str, str, str | None], Decision[E]] = {}

    # -- scope ---------------------------------------------------------------------------------------------------

    def decide(self, model: EditableModel, question: str, earlier: str | None) -> Decision[E]:
        """Return the edit that answers a user's message, given the one before; the same words are decided once."""
        vocabulary = Vocabulary.of(model)
        key = (vocabulary.digest, question, earlier)
        if key not in self._decided:
            if len(self._decided) >= REMEMBERED:
                self._decided = {}
            self._decided[key] = self.questions(model).answer(question, earlier, self._newest.__getitem__)
        return self._decided[key]

    def questions(self, model: EditableModel) -> Questions[E]:
        """Return the entries by what they are bound to, as a model's own words are compared."""
        digest = Vocabulary.of(model).digest
        if digest not in self._known:
            if not self.scorers:
                raise BadPatch(f"an increment of a {self.kind} patch has no scorer; join it with the one that has")
            self._known[digest] = Questions.empty(self.scorers, self.encoder, model).extended(self.entries)
        return self._known[digest]

    # -- composing -----------------------------------------------------------------------------------------------

    @property
    def slot(self) -> tuple[Any, ...]:
        return (self.kind, self.method, *self._site().values(), self.digest)

    @property
    def partial(self) -> bool:
        return not self.scorers

    def increment(self, previous: Patch | None) -> Self:
        if previous is None:
            return self
        known = set(previous.edits)
        return self._with([edit for edit in self.edits if edit not in known], scorers={})

    @classmethod
    def extended(cls, previous: Patch | None, increment: Patch) -> Patch:
        if previous is None:
            return increment
        joined = cls.joined([previous, increment])
        if isinstance(previous, cls) and isinstance(increment, cls):
            joined._known = {name: known.extended(increment.entries) for name, known in list(previous._known.items())}
        return joined

    @classmethod
    def joined(cls, parts: Sequence[Patch]) -> Self:
        same = [part for part in parts if isinstance(part, cls)]
        last = same[-1]
        if len(same) < len(parts) or any(one.slot != last.slot for one in same):
            raise BadPatch(f"only {cls.kind} patches of one site and scorer make one patch; stack the patches instead")
        return cls(
            entries=[entry for one in same for entry in one.entries], digest=last.digest, encoder=last.encoder,
            scorers=next((one.scorers for one in same if one.scorers), {}), method=last.method, config=last.config,
            edits=[edit for one in same for edit in one.edits], **last._site(),
        )  # fmt: skip

    def _only(self, kept: tuple[str, ...]) -> Self:
        found = self._with(kept, scorers=self.scorers)
        gone = set(self.edits).difference(kept)
        found._known = {name: known.without(gone) for name, known in list(self._known.items())}
        return found

    def _with(self, edits: Sequence[str], *, scorers: Mapping[Form, Scorer]) -> Self:
        chosen = set(edits)
        return type(self)(
            entries=[entry for entry in self.entries if entry.edit in chosen], scorers=scorers, digest=self.digest,
            encoder=self.encoder, method=self.method, config=self.config, edits=edits, order=self.order,
            **self._site(),
        )  # fmt: skip

    def _site(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.where}

    # -- files ---------------------------------------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), **self._site(), "encoder": self.encoder, "keys": len(self.entries)}

    def header(self) -> dict[str, Any]:
        told = [
            {"edit": one.edit, "question": one.question, "earlier": one.earlier, **self.entry_header(one)}
            for one in self.entries
        ]
        return {**super().header(), **self._site(), "encoder": self.encoder, "digest": self.digest, "entries": told}

    def tensors(self) -> dict[str, Tensor]:
        own = {
            _SCORERS[form] + name: part for form, one in self.scorers.items() for name, part in one.tensors().items()
        }
        return {**self.entry_tensors(), **own}

    @abstractmethod
    def entry_header(self, entry: E) -> dict[str, Any]:
        """Return what a file says of an entry besides its edit and question."""

    @abstractmethod
    def entry_tensors(self) -> dict[str, Tensor]:
        """Return the numbers of all entries, by name."""

    @classmethod
    @abstractmethod
    def entries_of(cls, told: Sequence[Mapping[str, Any]], tensors: Mapping[str, Tensor]) -> Sequence[E]:
        """Return the entries of a file. Raises: BadPatch."""

    @classmethod
    def from_parts(cls, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        own: dict[Form, dict[str, Tensor]] = {form: {} for form in _SCORERS}
        for form, prefix in _SCORERS.items():
            own[form] = {name.removeprefix(prefix): part for name, part in tensors.items() if name.startswith(prefix)}
        return cls(
            entries=cls.entries_of(header["entries"], tensors),
            scorers={form: Scorer.of(header["encoder"], parts) for form, parts in own.items() if parts},
            digest=str(header["digest"]), encoder=str(header["encoder"]), method=header["method"],
            config=header["config"], edits=header["edits"], **{name: header[name] for name in cls.where},
        )  # fmt: skip


def digest_of(scorers: Mapping[Form, Scorer]) -> str:
    """Return a SHA-256 (hex) of scorers: patches of one digest make one."""
    made = hashlib.sha256()
    for form, scorer in sorted(scorers.items()):
        made.update(f"{form} {scorer.encoder}".encode())
        for name, tensor in sorted(scorer.tensors().items()):
            made.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return made.hexdigest()
