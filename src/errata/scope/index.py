"""The questions of many edits, and which of them a text asks for.

Knows texts, an encoder and a scorer. Adding and removing leave no trace: the same questions give the same answers, in
whatever order they came.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from errata.scope.encoders import Encoder
from errata.scope.scorer import Scorer, features
from errata.scope.vocabulary import Vocabulary
from errata.words import views, words

CANDIDATES = 32  # questions nearest under the projection, which are then scored in full
SAME = 100.0  # score of a question that has the very same words
TOLD = 3  # questions told of a decision at most


@dataclass(frozen=True)
class Hit:
    """A question of an edit that a text was compared with: in scope if its score is above 0.

    Attributes:
        key: place of the question among those of the index.
        score: how far above the border.
    """

    key: int
    score: float

    @property
    def inside(self) -> bool:
        return self.score > 0


class Index:
    """Questions, in order; a later one of the same words stands before an earlier one."""

    def __init__(self, scorer: Scorer, encoder: Encoder, vocabulary: Vocabulary, questions: Iterable[str]) -> None:
        self._scorer, self._encoder, self._vocabulary = scorer, encoder, vocabulary
        self.questions = tuple(questions)
        self._bags = [vocabulary.bag(question) for question in self.questions]
        self._same: dict[tuple[str, ...], int] = {tuple(words(q)): place for place, q in enumerate(self.questions)}
        self._vectors = scorer.place(encoder.encode(self.questions))

    def extended(self, questions: Sequence[str]) -> Index:
        """Return the index with more questions after its own; what is there is not computed again."""
        other = object.__new__(Index)
        more = Index(self._scorer, self._encoder, self._vocabulary, questions)
        other._scorer, other._encoder, other._vocabulary = self._scorer, self._encoder, self._vocabulary
        other.questions = self.questions + more.questions
        other._bags = self._bags + more._bags
        first = len(self.questions)
        other._same = self._same | {same: first + place for same, place in more._same.items()}
        other._vectors = torch.cat([self._vectors, more._vectors])
        return other

    def search(self, text: str) -> list[Hit]:
        """Return the questions nearest to a text, best first: those in scope, and the best of those that are not."""
        best: dict[int, float] = {}
        if self.questions:
            asked = views(text)
            near = self._scorer.place(self._encoder.encode(asked)) @ self._vectors.T
            for view, cosines in zip(asked, near, strict=True):
                for key, score in self._scored(view, cosines):
                    best[key] = max(score, best.get(key, score))
        # Of equal scores the later question, which replaced the earlier one.
        ranked = sorted(best.items(), key=lambda item: (item[1], item[0]), reverse=True)
        return [Hit(key, score) for key, score in ranked[:TOLD]]

    def alike(self, key: str, query: str) -> float:
        """Return the score of one text as a wording of another, neither of which need be in the index."""
        return Index(self._scorer, self._encoder, self._vocabulary, (key,)).search(query)[0].score

    def _scored(self, view: str, cosines: Tensor) -> list[tuple[int, float]]:
        near, keys = cosines.topk(min(CANDIDATES, len(cosines)))
        bag = self._vocabulary.bag(view)
        pairs = [(self._bags[key], bag) for key in keys.tolist()]
        scores = self._scorer.score(features(near, pairs)).tolist()
        found = list(zip(keys.tolist(), scores, strict=True))
        same = self._same.get(tuple(words(view)))
        return found if same is None else [*found, (same, SAME)]
