"""The word bags of many questions in flat arrays, and their features beside the bag of one text.

Gives what `scorer.shared` gives for one pair, for many questions at once. Knows bags; no texts and no vectors.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from errata.scope.growing import Growing
from errata.scope.scorer import BAGS, PARTLY, RAREST, TINY
from errata.scope.vocabulary import Bag


class Bags:
    """Bags by row: of every word its hash (64 bits, of this process), its rarity, and whether it is a name."""

    def __init__(self) -> None:
        self._ends = Growing((), np.int64)
        self._ends.append(np.zeros(1, np.int64))
        self._hashes, self._rarities, self._names = (Growing((), kind) for kind in (np.int64, np.float32, np.bool_))

    def append(self, bags: Sequence[Bag]) -> None:
        """Add bags at the end."""
        ends = self._ends.rows[-1] + np.cumsum([len(bag.rarities) for bag in bags], dtype=np.int64)
        hashes, rarities, names = (np.concatenate(parts) for parts in zip(*map(_columns, bags), strict=True))
        self._hashes.append(hashes)
        self._rarities.append(rarities)
        self._names.append(names)
        self._ends.append(ends)

    def copied(self, rows: np.ndarray) -> Bags:
        """Return a copy of some bags, in the order of `rows`."""
        other, (places, sizes) = Bags(), self._places(rows)
        other._hashes.append(self._hashes.rows[places])
        other._rarities.append(self._rarities.rows[places])
        other._names.append(self._names.rows[places])
        other._ends.append(np.cumsum(sizes))
        return other

    def features(self, rows: np.ndarray, query: Bag) -> np.ndarray:
        """(n, BAGS): features of the bags of `rows` (n,), each as the key of a pair with `query`.

        Every row is computed by itself, so that the result does not depend on which others are beside it.
        """
        places, sizes = self._places(rows)
        hashes, names = self._hashes.rows[places], self._names.rows[places]
        rarities = self._rarities.rows[places].astype(np.float64)
        owners = np.repeat(np.arange(len(rows)), sizes)
        asked, weights, named = _columns(query)
        order = np.argsort(asked)
        asked, weights, named = asked[order], weights[order].astype(np.float64), named[order]
        at = np.searchsorted(asked, hashes)
        known = np.zeros(len(hashes), bool)
        known[at < len(asked)] = asked[at[at < len(asked)]] == hashes[at < len(asked)]
        missing = np.ones((len(rows), len(asked)), bool)  # words of the query that a question lacks
        missing[owners[known], at[known]] = False

        def total(values: np.ndarray) -> np.ndarray:
            return np.bincount(owners, values, len(rows))

        common, lacks = total(rarities * known), np.zeros(len(rows))
        np.maximum.at(lacks, owners, rarities * ~known)
        adds = (weights * missing).max(1, initial=0.0)
        lost = total(rarities * (names & ~known)) / (total(rarities * names) + TINY)
        strange = (weights * named * missing).sum(1) / ((weights * named).sum() + TINY)
        foreign = np.minimum(lost, strange)
        found = np.empty((len(rows), BAGS))
        found[:, 0] = common / (total(rarities) + TINY)
        found[:, 1] = common / (weights.sum() + TINY)
        found[:, 2], found[:, 3] = -lacks / RAREST, -adds / RAREST
        found[:, 4], found[:, 5] = -foreign, -np.minimum(1.0, foreign / PARTLY)
        return found

    def _places(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the places of the words of `rows`, one row after another, and how many words each has."""
        ends = self._ends.rows
        starts = ends[rows]
        sizes = ends[rows + 1] - starts
        firsts = np.cumsum(sizes) - sizes
        return np.repeat(starts - firsts, sizes) + np.arange(int(sizes.sum())), sizes


def _columns(bag: Bag) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    read = bag.rarities
    return (
        np.fromiter(map(hash, read), np.int64, len(read)),
        np.fromiter(read.values(), np.float32, len(read)),
        np.fromiter((word in bag.names for word in read), np.bool_, len(read)),
    )
