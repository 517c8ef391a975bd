"""What an index knows of its questions: texts, vectors and words, in rows that are only ever added.

Indexes of one history share a storage; which of its rows an index has is the index's concern. Knows rows and numbers;
no model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from errata.scope.bags import Bags
from errata.scope.groups import Groups
from errata.scope.growing import Growing
from errata.scope.partition import Partition
from errata.scope.vocabulary import Bag
from errata.words import words

SLACK = 2e-3  # more than the product of 16-bit vectors may be off
RAREST_ASKED = 5  # words of a text, two of which may be the rarest of a question
BLOCK = 1024  # rows that are made 32-bit at a time: they stay in the cache of a core


class Storage:
    """Rows of questions.

    Attributes:
        lock: held while rows are added.
        texts: questions as they were written.
        partition: finds near rows without comparing all of them; None until it pays.
    """

    def __init__(self, width: int) -> None:
        self.lock = Lock()
        self.texts: list[str] = []
        self.partition: Partition | None = None
        self._vectors = Growing((width,), np.float16)
        self._bags = Bags()
        self._wordings = Groups()  # by the words in order
        self._pairs = Groups()  # by the two rarest words

    def append(self, texts: Sequence[str], vectors: Tensor, bags: Sequence[Bag]) -> None:
        """Add rows at the end. Vectors (m, k) are kept in 16 bits."""
        self._vectors.append(vectors.numpy())
        self._bags.append(bags)
        self._wordings.append([hash(tuple(words(text))) for text in texts])
        self._pairs.append([_pair(_rarest(bag, 2)) for bag in bags])
        self.texts.extend(texts)

    def copied(self, rows: np.ndarray) -> Storage:
        """Return a storage of some rows, in the order of `rows`; nothing is computed again but the partition."""
        other = Storage(self._vectors.rows.shape[1])
        other._vectors.append(self._vectors.rows[rows])
        other._bags = self._bags.copied(rows)
        other._wordings, other._pairs = self._wordings.copied(rows), self._pairs.copied(rows)
        other.texts = [self.texts[row] for row in rows.tolist()]
        other.partition = self.partition and self.partition.emptied()
        return other

    def fill(self, partition: Partition) -> None:
        """Make `partition` the storage's own, or the one that it has, and add the rows that it lacks."""
        self.partition = self.partition or partition
        self.partition.extend(self._vectors.rows)

    def of_same_words(self, text: str) -> Iterator[int]:
        """Yield the rows that have the very same words as a text, the latest first."""
        read = words(text)
        return (row for row in self._wordings.rows(hash(tuple(read))) if words(self.texts[row]) == read)

    def same_as(self, row: int) -> Iterator[int]:
        """Yield the rows that have the words of another one, the latest first."""
        return self._wordings.beside(row)

    def of_same_names(self, bag: Bag) -> Iterator[Iterator[int]]:
        """Yield groups of rows whose two rarest words are among the rarest of a text's, in each the latest first."""
        return (self._pairs.rows(_pair(pair)) for pair in combinations(_rarest(bag, RAREST_ASKED), 2))

    def nearest(self, queries: Tensor, limit: int, gone: np.ndarray, count: int) -> list[np.ndarray]:
        """Return for each of the unit vectors (v, k) the `count` rows nearest to it, and all that may be as near.

        Args:
            limit: rows from here on are left out.
            gone: rows below it that are left out.
        """
        stored = torch.from_numpy(self._vectors.rows[:limit])
        if len(queries) == 1:  # reading 16-bit numbers is what takes the time
            near = (stored @ queries[0].half()).float()[None]
        else:  # and making them 32-bit, once for all queries
            near = torch.cat([part.float() @ queries.T for part in stored.split(BLOCK)]).T.contiguous()
        near[:, torch.from_numpy(gone)] = -torch.inf
        least = near.topk(min(count, limit - len(gone)), dim=1).values[:, -1:] - SLACK
        return [np.flatnonzero(row) for row in (near >= least).numpy()]

    def cosines(self, rows: np.ndarray, query: Tensor) -> np.ndarray:
        """(n,): of rows (n,) with a unit vector (k,); each is computed by itself, whichever others are beside it."""
        return (self._vectors.rows[rows].astype(np.float64) * query.numpy().astype(np.float64)).sum(1)

    def shared(self, rows: np.ndarray, bag: Bag) -> np.ndarray:
        """(n, BAGS): features of the words of rows (n,) beside those of a text."""
        return self._bags.features(rows, bag)


def _rarest(bag: Bag, count: int) -> list[str]:
    return sorted(bag.rarities, key=lambda word: (-bag.rarities[word], word))[:count]


def _pair(pair: Sequence[str]) -> int:
    return hash(tuple(sorted(pair)))
