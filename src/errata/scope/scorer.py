"""How far one question asks for what another asks for: a learned distance of their vectors, and the words they share.

    score = w . f(key, query) + b,    w >= 0;    f: closeness under a projection, coverage of each one's rare words

Plain numbers: no model, no text but words with their rarities. Scores above 0 are in scope.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from errata.errors import BadPatch
from errata.scope.vocabulary import Bag

Form = Literal["chat", "text"]
"""What is compared: messages of a conversation, or beginnings of sentences."""
KNOTS = (0.5, 0.75)  # where the slope of closeness may change
TINY = 1e-6
PARTLY = 0.25  # share of the names that are foreign on both sides from which on it makes no difference how many are
RAREST = 8.0  # rarity of a word that counts as one whole unit when it is missing
RELATION = 0.3  # share of the relation in the closeness of texts that name whom they are about and little else
BAGS = 6  # features of the words
WIDTH = 1 + len(KNOTS) + BAGS  # of all features
_RELATION = "relation_projection"


@dataclass(frozen=True)
class Metric:
    """A learned distance of encoder vectors.

    Attributes:
        centre: (e,), mean of the vectors it was learned from.
        projection: (e, k).
    """

    centre: Tensor
    projection: Tensor

    def place(self, vectors: Tensor) -> Tensor:
        """(n, k): encoder vectors (n, e) as unit vectors under the projection."""
        return normalize(normalize(vectors - self.centre, dim=1) @ self.projection, dim=1)


@dataclass(frozen=True)
class Scorer:
    """A calibrated scorer.

    Attributes:
        encoder: name of the encoder that it was calibrated for.
        metric: of whole texts.
        weights: (WIDTH,), none below 0.
        bias: what is added; the threshold is in it, so that 0 is the border.
        relation: metric of texts without their names, which tell what is asked and not about whom. Then vectors
            (n, 2 e) hold both, and closeness is the mean of both, that of the relation with weight RELATION.
    """

    encoder: str
    metric: Metric
    weights: Tensor
    bias: float
    relation: Metric | None = None

    @property
    def width(self) -> int:
        """Size of a placed vector."""
        return sum(one.projection.shape[1] for one in (self.metric, self.relation) if one is not None)

    def place(self, vectors: Tensor) -> Tensor:
        """(n, width): encoder vectors as unit vectors whose products are closenesses."""
        if self.relation is None:
            return self.metric.place(vectors)
        whole, plain = vectors.chunk(2, dim=1)
        shares = (1 - RELATION) ** 0.5 * self.metric.place(whole), RELATION**0.5 * self.relation.place(plain)
        return torch.cat(shares, dim=1)

    def score(self, features: Tensor) -> Tensor:
        """(...): scores of features (..., WIDTH)."""
        return features @ self.weights + self.bias

    def scores(self, cosines: np.ndarray, shared: np.ndarray) -> np.ndarray:
        """(n,): what `score` gives for cosines (n,) and features of words (n, BAGS), each row computed by itself."""
        bends = [cosines, *(np.maximum(cosines - knot, 0) for knot in KNOTS)]
        found = np.concatenate([np.stack(bends, 1), shared], 1)
        return (found * self.weights.numpy().astype(np.float64)).sum(1) + self.bias

    def tensors(self) -> dict[str, Tensor]:
        """Everything but the encoder's name; `of` reads it back."""
        own = {"centre": self.metric.centre, "projection": self.metric.projection}
        if self.relation is not None:
            own |= {"relation_centre": self.relation.centre, "relation_projection": self.relation.projection}
        return {**own, "weights": self.weights, "bias": torch.tensor([self.bias], dtype=torch.float64)}

    @classmethod
    def of(cls, encoder: str, tensors: Mapping[str, Tensor]) -> Scorer:
        """Read a scorer from its tensors. Raises: BadPatch."""
        try:
            metric, weights = Metric(tensors["centre"], tensors["projection"]), tensors["weights"]
            bias = float(tensors["bias"][0])
            plain = Metric(tensors["relation_centre"], tensors["relation_projection"]) if _RELATION in tensors else None
        except (KeyError, IndexError) as error:
            raise BadPatch(f"a scorer lacks its tensor {error}; the file is damaged") from None
        fit = all(one.projection.dim() == 2 and one.centre.shape == one.projection.shape[:1]
                  for one in (metric, plain) if one is not None)  # fmt: skip
        if not fit or weights.shape != (WIDTH,):
            raise BadPatch("the tensors of a scorer do not fit each other; the file is damaged")
        return cls(encoder, metric, weights, bias, plain)


def closeness(cosines: Tensor) -> Tensor:
    """(..., 1 + knots): a piecewise linear base of cosines (...)."""
    return torch.stack([cosines, *((cosines - knot).clamp_min(0) for knot in KNOTS)], -1)


def shared(key: Bag, query: Bag) -> list[float]:
    """Features of two bags: what each covers of the other, the rarest word that is missing, and names that are.

    Of two questions that differ in whom they are about, each has names that the other lacks.
    """
    mine, theirs = key.rarities, query.rarities
    common = sum(rarity for word, rarity in mine.items() if word in theirs)
    covered, covering = common / (sum(mine.values()) + TINY), common / (sum(theirs.values()) + TINY)
    lacks = max((rarity for word, rarity in mine.items() if word not in theirs), default=0.0)
    adds = max((rarity for word, rarity in theirs.items() if word not in mine), default=0.0)
    lost, strange = _unshared(key, query), _unshared(query, key)
    foreign = min(lost, strange)
    return [covered, covering, -lacks / RAREST, -adds / RAREST, -foreign, -min(1.0, foreign / PARTLY)]


def _unshared(one: Bag, other: Bag) -> float:
    """Share of the names of one, by rarity, that the other lacks."""
    whole = sum(one.rarities[name] for name in one.names)
    missing = sum(one.rarities[name] for name in one.names if name not in other.rarities)
    return missing / (whole + TINY)


def features(cosines: Tensor, pairs: Sequence[tuple[Bag, Bag]]) -> Tensor:
    """(n, WIDTH): of pairs of bags with the cosines (n,) of their vectors."""
    bags = torch.tensor([shared(key, query) for key, query in pairs]).reshape(len(pairs), BAGS)
    return torch.cat([closeness(cosines), bags], -1)
