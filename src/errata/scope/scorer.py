"""How far one question asks for what another asks for: a learned distance of their vectors, and the words they share.

    score = w . f(key, query) + b,    w >= 0;    f: closeness under a projection, coverage of each one's rare words

Plain numbers: no model, no text but words with their rarities. Scores above 0 are in scope.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from errata.errors import BadPatch

KNOTS = (0.5, 0.75)  # where the slope of closeness may change
RAREST = 8.0  # rarity of a word that counts as one whole unit when it is missing
WIDTH = 4 + len(KNOTS) + 1  # of the features


@dataclass(frozen=True)
class Scorer:
    """A calibrated scorer.

    Attributes:
        encoder: name of the encoder that it was calibrated for.
        centre: (e,), mean of the vectors it was learned from.
        projection: (e, k).
        weights: (WIDTH,), none below 0.
        bias: what is added; the threshold is in it, so that 0 is the border.
    """

    encoder: str
    centre: Tensor
    projection: Tensor
    weights: Tensor
    bias: float

    def place(self, vectors: Tensor) -> Tensor:
        """(n, k): encoder vectors (n, e) as unit vectors under the projection."""
        return normalize(normalize(vectors - self.centre, dim=1) @ self.projection, dim=1)

    def score(self, features: Tensor) -> Tensor:
        """(...): scores of features (..., WIDTH)."""
        return features @ self.weights + self.bias

    def tensors(self) -> dict[str, Tensor]:
        """Everything but the encoder's name; `of` reads it back."""
        return {
            "centre": self.centre, "projection": self.projection, "weights": self.weights,
            "bias": torch.tensor([self.bias], dtype=torch.float64),
        }  # fmt: skip

    @classmethod
    def of(cls, encoder: str, tensors: Mapping[str, Tensor]) -> Scorer:
        """Read a scorer from its tensors. Raises: BadPatch."""
        try:
            centre, projection, weights = (tensors[name] for name in ("centre", "projection", "weights"))
            bias = float(tensors["bias"][0])
        except (KeyError, IndexError) as error:
            raise BadPatch(f"a scorer lacks its tensor {error}; the file is damaged") from None
        if projection.dim() != 2 or centre.shape != projection.shape[:1] or weights.shape != (WIDTH,):
            raise BadPatch("the tensors of a scorer do not fit each other; the file is damaged")
        return cls(encoder, centre, projection, weights, bias)


def closeness(cosines: Tensor) -> Tensor:
    """(..., 1 + knots): a piecewise linear base of cosines (...)."""
    return torch.stack([cosines, *((cosines - knot).clamp_min(0) for knot in KNOTS)], -1)


def shared(key: Mapping[str, float], query: Mapping[str, float]) -> list[float]:
    """Features of two bags of words with rarities: each one's share that the other covers, and what is missing most."""
    common = sum(rarity for word, rarity in key.items() if word in query)
    covered, covering = common / (sum(key.values()) + 1e-6), common / (sum(query.values()) + 1e-6)
    lacks = max((rarity for word, rarity in key.items() if word not in query), default=0.0)
    adds = max((rarity for word, rarity in query.items() if word not in key), default=0.0)
    return [covered, covering, -lacks / RAREST, -adds / RAREST]


def features(cosines: Tensor, pairs: Sequence[tuple[Mapping[str, float], Mapping[str, float]]]) -> Tensor:
    """(n, WIDTH): of pairs of bags with the cosines (n,) of their vectors."""
    bags = torch.tensor([shared(key, query) for key, query in pairs]).reshape(len(pairs), 4)
    return torch.cat([closeness(cosines), bags], -1)
