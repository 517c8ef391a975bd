"""The questions of many edits, and which of them a text asks for.

Knows texts, an encoder and a scorer. Adding and removing leave no trace: the same questions in the same order give the
same answers, however they came there. Of very many questions those to compare are found by `partition`, if faiss is
installed; what is returned was scored in full.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from errata.scope.encoders import Encoder
from errata.scope.partition import Partition, available
from errata.scope.scorer import Scorer
from errata.scope.storage import Storage
from errata.scope.vocabulary import Vocabulary
from errata.words import views

CANDIDATES = 32  # questions nearest under the projection, which are then scored in full
SAME = 100.0  # score of a question that has the very same words
TOLD = 3  # questions told of a decision at most
APPROXIMATE_FROM = 50_000  # questions; comparing a text with so many takes about 5 ms
AT_ONCE = 1024  # questions encoded together
SPARE = 64  # rows of others that a storage may hold beside as many as the index has
NONE = np.empty(0, np.int64)


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
    """Questions, in order; a later one of the same words stands before an earlier one.

    An index never changes. Those made from it by `extended` and `without` share its storage: this one has the rows of
    it below a limit, but for those that are gone.
    """

    def __init__(
        self,
        scorer: Scorer,
        encoder: Encoder,
        vocabulary: Vocabulary,
        questions: Iterable[str],
        *,
        approximate_from: int | None = APPROXIMATE_FROM,
    ) -> None:
        """Make an index of questions.

        Args:
            approximate_from: number of questions from which on candidates are found by faiss, if that is installed;
                None: never.
        """
        self._scorer, self._encoder, self._vocabulary = scorer, encoder, vocabulary
        self._approximate_from = approximate_from if available() else None
        self._storage = Storage(scorer.width)
        self._limit, self._gone = 0, NONE
        self._append(questions)

    def __len__(self) -> int:
        return self._limit - len(self._gone)

    @cached_property
    def questions(self) -> tuple[str, ...]:
        texts = self._storage.texts
        return tuple([texts[row] for row in self._rows.tolist()] if len(self._gone) else texts[: self._limit])

    def extended(self, questions: Sequence[str]) -> Index:
        """Return the index with more questions after its own; what is there is not computed again, nor copied."""
        if not questions:
            return self
        other = self._of(self._storage, self._limit, self._gone)
        other._append(questions)
        return other

    def without(self, keys: Iterable[int]) -> Index:
        """Return the index without the questions at some places; the others move up, and nothing is computed again.

        Raises:
            IndexError: there is no such place.
        """
        places = np.unique(np.fromiter(keys, np.int64))
        if not len(places):
            return self
        if places[0] < 0 or places[-1] >= len(self):
            raise IndexError(f"keys must be from 0 to {len(self) - 1}, got {places[0]} and {places[-1]}")
        return self._of(self._storage, self._limit, np.union1d(self._gone, self._row(places)))._without_waste()

    def search(self, text: str, limit: int = TOLD) -> list[Hit]:
        """Return the questions nearest to a text, best first: those in scope, and the best of those that are not.

        Args:
            limit: how many at most.
        """
        best: dict[int, float] = {}
        if len(self):
            asked = views(text)
            queries = self._place(asked)
            for view, query, rows in zip(asked, queries, self._candidates(asked, queries), strict=True):
                for row, score in self._score_rows(view, query, rows):
                    best[row] = max(score, best.get(row, score))
        # Of equal scores the later question, which replaced the earlier one.
        ranked = sorted(best.items(), key=lambda item: (item[1], item[0]), reverse=True)[:limit]
        return [Hit(row - int(np.searchsorted(self._gone, row)), score) for row, score in ranked]

    def alike(self, key: str, query: str) -> float:
        """Return the score of one text as a wording of another, neither of which need be in the index."""
        return Index(self._scorer, self._encoder, self._vocabulary, (key,)).search(query)[0].score

    # -- searching -----------------------------------------------------------------------------------------------

    def _candidates(self, asked: Sequence[str], queries: Tensor) -> list[np.ndarray]:
        """Return for each of some texts, with unit vectors (v, k), the rows that may be among the CANDIDATES nearest.

        The partition misses some. What it must not miss are questions about the same subject, which have rare words in
        common; those are looked up.
        """
        if not self._approximate:
            return self._storage.nearest(queries, self._limit, self._gone, CANDIDATES)
        partition, storage = self._storage.partition, self._storage
        assert partition is not None
        found = []
        for text, near in zip(asked, partition.search(queries, self._selector, len(self)), strict=True):
            groups = storage.of_same_names(self._vocabulary.bag(text))
            rows = {*near.tolist(), *(row for group in groups for row in self._latest(group, CANDIDATES))}
            found.append(np.array(sorted(rows), np.int64))
        return found

    def _latest(self, rows: Iterator[int], count: int) -> list[int]:
        return list(islice(filter(self._has, rows), count))

    def _score_rows(self, view: str, query: Tensor, rows: np.ndarray) -> list[tuple[int, float]]:
        """Return the CANDIDATES nearest of some rows with their scores, with all that are just as near as the last."""
        cosines = self._storage.cosines(rows, query)
        if len(rows) > CANDIDATES:
            close = cosines >= np.partition(cosines, -CANDIDATES)[-CANDIDATES]
            rows, cosines = rows[close], cosines[close]
        if self._approximate:  # one question asked very often may fill what was found: the latest of it has to be there
            latest = {row for old in rows.tolist() for row in self._latest(self._storage.same_as(old), 1)}
            if more := sorted(latest.difference(rows.tolist())):
                rows = np.append(rows, more)
                cosines = np.append(cosines, self._storage.cosines(np.array(more), query))
        scores = self._scorer.scores(cosines, self._storage.shared(rows, self._vocabulary.bag(view)))
        same = self._latest(self._storage.of_same_words(view), 1)
        found = list(zip(rows.tolist(), scores.tolist(), strict=True))
        return found + [(row, SAME) for row in same]

    def _place(self, texts: Sequence[str]) -> Tensor:
        """(n, k): unit vectors of texts. A product of many rows would round each by which others are beside it."""
        return torch.cat([self._scorer.place(row.clone()[None]) for row in self._encoder.encode(texts)])

    # -- sharing a storage ---------------------------------------------------------------------------------------

    @property
    def _approximate(self) -> bool:
        return self._approximate_from is not None and len(self) >= max(self._approximate_from, CANDIDATES)

    @cached_property
    def _selector(self) -> Any:
        assert self._storage.partition is not None
        return self._storage.partition.selector(self._limit, self._gone)

    @property
    def _rows(self) -> np.ndarray:
        return np.delete(np.arange(self._limit), self._gone)

    def _row(self, places: np.ndarray) -> np.ndarray:
        """Return the rows of questions by their places: above each gone row with no more than `place` kept below it."""
        return places + np.searchsorted(self._gone - np.arange(len(self._gone)), places, side="right")

    def _has(self, row: int) -> bool:
        if row >= self._limit or not len(self._gone):
            return row < self._limit
        place = int(np.searchsorted(self._gone, row))
        return place == len(self._gone) or int(self._gone[place]) != row

    def _of(self, storage: Storage, limit: int, gone: np.ndarray) -> Index:
        other = object.__new__(Index)
        other._scorer, other._encoder, other._vocabulary = self._scorer, self._encoder, self._vocabulary
        other._approximate_from = self._approximate_from
        other._storage, other._limit, other._gone = storage, limit, gone
        return other

    def _append(self, questions: Iterable[str]) -> None:
        """Add questions while the index is being made: to its storage, or a copy if that is mostly of others."""
        waiting = iter(questions)
        while texts := list(islice(waiting, AT_ONCE)):
            vectors, bags = self._place(texts), [self._vocabulary.bag(text) for text in texts]
            with self._storage.lock:
                count = len(self._storage.texts)
                self._gone = np.concatenate([self._gone, np.arange(self._limit, count)])
                self._limit = count
                self._compact()
                self._storage.append(texts, vectors, bags)
                self._limit = len(self._storage.texts)
        self._fill()

    def _without_waste(self) -> Index:
        with self._storage.lock:
            self._compact()
        self._fill()
        return self

    def _compact(self) -> None:
        if len(self._gone) > len(self) + SPARE:
            self._storage = self._storage.copied(self._rows)
            self._limit, self._gone = len(self._storage.texts), NONE

    def _fill(self) -> None:
        if self._approximate:
            with self._storage.lock:
                held = self._storage.partition
                self._storage.fill(held or Partition.for_scorer(self._scorer, self._encoder, self._vocabulary))
