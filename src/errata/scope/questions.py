"""Which edit a text asks for, among the questions that edits are bound to: messages of a conversation, or sentences.

One index for every way in which a question is bound. Knows entries, scorers and indexes; what an edit does where it is
asked for is no concern here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from errata.errors import BadPatch
from errata.scope.encoders import SplitEncoder, encoder_for
from errata.scope.index import Index
from errata.scope.scorer import Form, Scorer
from errata.scope.vocabulary import Vocabulary
from errata.words import words

if TYPE_CHECKING:
    from errata.models import EditableModel


class Bound(Protocol):
    """What is bound to a question.

    Attributes:
        edit: id of the edit.
        form: "chat": `question` is a user's message; "text": the beginning of a sentence.
        earlier: the user's message before that one, if the question is only understood after it.
    """

    @property
    def edit(self) -> str: ...
    @property
    def form(self) -> Form: ...
    @property
    def question(self) -> str: ...
    @property
    def earlier(self) -> str | None: ...


E = TypeVar("E", bound=Bound)


@dataclass(frozen=True)
class Decision(Generic[E]):
    """What answers a question, and what else came near: ids of edits with their scores, the best first."""

    entry: E | None
    scores: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class _Group(Generic[E]):
    """Entries of one kind, the index of their questions, and of each question the word that tells most."""

    entries: tuple[E, ...]
    index: Index
    anchors: Counter[str] = field(default_factory=Counter)

    def extended(self, entries: Sequence[E], vocabulary: Vocabulary) -> _Group[E]:
        more = [entry.question for entry in entries]
        anchors = self.anchors + Counter(_anchor(question, vocabulary) for question in more) if more else self.anchors
        return _Group((*self.entries, *entries), self.index.extended(more), anchors)

    def without(self, edits: frozenset[str], vocabulary: Vocabulary) -> _Group[E]:
        gone = [place for place, entry in enumerate(self.entries) if entry.edit in edits]
        if not gone:
            return self
        lost = Counter(_anchor(self.entries[place].question, vocabulary) for place in gone)
        kept = tuple(entry for entry in self.entries if entry.edit not in edits)
        return _Group(kept, self.index.without(gone), self.anchors - lost)


def _anchor(question: str, vocabulary: Vocabulary) -> str:
    """Return the rarest name of a question, or its rarest word."""
    bag = vocabulary.bag(question)
    return max(bag.names or bag.rarities, key=lambda word: (bag.rarities[word], word), default="")


class Questions(Generic[E]):
    """Entries by how they are bound: to a message, to a message and the one before, or to a sentence."""

    def __init__(self, groups: Mapping[str, _Group[E]], vocabulary: Vocabulary) -> None:
        self._groups, self._vocabulary = dict(groups), vocabulary

    @classmethod
    def empty(cls, scorers: Mapping[Form, Scorer], encoder: str, model: EditableModel) -> Questions[E]:
        """Return none, to be compared by some scorers. Raises: BadConfig, the encoder is not installed."""
        used, vocabulary = encoder_for(encoder, model), Vocabulary.of(model)
        groups: dict[str, _Group[E]] = {}
        for form, scorer in scorers.items():
            reads = used if scorer.relation is None else SplitEncoder(used, vocabulary)
            for name in ("free", "bound") if form == "chat" else ("text",):
                groups[name] = _Group((), Index(scorer, reads, vocabulary, ()))
        return cls(groups, vocabulary)

    def extended(self, entries: Sequence[E]) -> Questions[E]:
        """Return these with more entries after their own; what is there is not computed again.

        Raises:
            BadPatch: there is no scorer for the form of one.
        """
        if odd := {_group_of(entry) for entry in entries} - self._groups.keys():
            raise BadPatch(f"there is no scorer for entries bound by {min(odd)}; the file is damaged")
        groups = {
            name: group.extended([entry for entry in entries if _group_of(entry) == name], self._vocabulary)
            for name, group in self._groups.items()
        }
        return Questions(groups, self._vocabulary)

    def without(self, edits: Iterable[str]) -> Questions[E]:
        """Return these less the entries of some edits, as if those had never been there."""
        gone = frozenset(edits)
        groups = {name: group.without(gone, self._vocabulary) for name, group in self._groups.items()}
        return Questions(groups, self._vocabulary)

    def answer(self, question: str, earlier: str | None, newest: Callable[[str], int]) -> Decision[E]:
        """Decide which entry answers a user's message, given the one before.

        Args:
            newest: tells of an edit's id how late it came: of equals the latest stands.
        """
        free, bound = self._groups["free"], self._groups["bound"]
        found = [(False, hit.score, free.entries[hit.key]) for hit in free.index.search(question)]
        if earlier is not None and bound.entries:
            for hit in bound.index.search(question):
                entry = bound.entries[hit.key]
                # The message before has to be the one that the edit came after, too.
                found.append((True, min(hit.score, bound.index.alike(str(entry.earlier), earlier)), entry))
        inside = [one for one in found if one[1] > 0]
        # What is bound to two messages is the more specific.
        best = max(inside, key=lambda one: (one[0], one[1], newest(one[2].edit))) if inside else None
        scores: dict[str, float] = {}
        for _, score, entry in found:
            scores[entry.edit] = max(score, scores.get(entry.edit, score))
        ranked = sorted(scores.items(), key=lambda one: (best is None or one[0] != best[2].edit, -one[1]))
        return Decision(best[2] if best else None, tuple(ranked))

    def may_ask(self, text: str) -> bool:
        """Return whether a text has a word without which no sentence here is asked for; cheap."""
        group = self._groups.get("text")
        return group is not None and bool(group.entries) and not group.anchors.keys().isdisjoint(words(text))

    def asked_by(self, sentence: str) -> list[tuple[float, E]]:
        """Return the entries that the beginning of a sentence asks for with their scores, the best first."""
        group = self._groups["text"]
        return [(hit.score, group.entries[hit.key]) for hit in group.index.search(sentence) if hit.inside]


def _group_of(entry: Bound) -> str:
    return "text" if entry.form == "text" else "free" if entry.earlier is None else "bound"
