"""What a block makes of wordings: how far those of one fact lie from one another and from other facts, and the radius
that follows.

Knows states, and which fact and subject each is of. It knows no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from errata.patches.metric import Metric
from errata.statistics.phrasings import Fact

FOREIGN, RELATED, TEXT = 0.025, 0.03, 0.001  # shares of states that may fire a key they should not
CLEAR = 0.7  # of the way to the nearest background state, beyond which no key reaches
LEAST = 0.01  # of the radius is left to a key in any case
NEARLY = 0.98  # of what could be caught is enough
SAFE = 0.05  # radius as a share of a state's norm where nothing could be learned


@dataclass(frozen=True, eq=False)
class Separation:
    """What one block makes of wordings, and the radius that follows.

    Attributes:
        layer: the block.
        metric: the distances' own; None: L2 of the states.
        radius: of a ball around a state that shall catch other wordings of its fact, where nothing foreign is near.
        own: (n,), distance of each wording from the nearest other wording of its fact.
        foreign: (n,), its distance from the nearest wording of another fact.
        related: (r,), the same of other facts about its subject, where there are any.
        text: (t,), distances of the states of running text from the nearest wording.
        background: (b, q), the states of all wordings as the metric sees them, in the order of the facts: no key may
            come near one of them. Distances are infinite between states of which one is kept from reaching the other.
        facts: how many were measured.
        warning: what to know before it is used; None if nothing.
    """

    layer: int
    metric: Metric | None
    radius: float
    own: Tensor
    foreign: Tensor
    related: Tensor
    text: Tensor
    background: Tensor
    facts: int
    warning: str | None = None

    @property
    def caught(self) -> float:
        """Share of the wordings that lie in a ball of their own fact, and nearer to it than to another's."""
        return share((self.own <= self.radius) & (self.own < self.foreign))

    def radii(self, queries: Tensor, own: Sequence[int] = ()) -> Tensor:
        """(K,): radii of keys at queries (K, q); `own` are the background states of the very same question."""
        if not len(self.background):
            return torch.full((len(queries),), self.radius)
        away = torch.cdist(queries, self.background)
        away[:, list(own)] = float("inf")
        reach = CLEAR * away.amin(1)
        return reach.clamp(LEAST * self.radius, self.radius)

    def summary(self) -> dict[str, Any]:
        """Figures, as JSON."""
        return {
            "layer": self.layer,
            "radius": self.radius,
            "caught": self.caught,
            "foreign": share(self.foreign <= self.radius),
            "related": share(self.related <= self.radius),
            "text": share(self.text <= self.radius),
            "own_distance": _median(self.own),
            "foreign_distance": _median(self.foreign),
            "related_distance": _median(self.related),
            "directions": len(self.metric.matrix) if self.metric else None,
            "facts": self.facts,
            "warning": self.warning,
        }


def separation(
    layer: int, metric: Metric, states: Tensor, learned: Tensor, facts: Sequence[Fact], prose: Tensor
) -> Separation:
    """Distances between the wordings of the last `facts`, and the radius that keeps false hits in bounds.

    The states (N, d) of all wordings, in order, of which those `learned` (N,) bool are background.
    """
    every = metric.of(states)
    seen, background = every[~learned], every[learned]
    fact = torch.tensor([place for place, one in enumerate(facts) for _ in one.prompts])
    subjects = [one.subject for one in facts]
    # Facts without a subject are related to no other.
    codes = torch.tensor([subjects.index(name) if name else -1 - place for place, name in enumerate(subjects)])[fact]
    reach = CLEAR * torch.cdist(seen, background).amin(1)
    away = _within(torch.cdist(seen, seen).fill_diagonal_(float("inf")), reach)
    same = fact[:, None] == fact[None]
    own, foreign = _nearest(away, same), _nearest(away, ~same)
    alike = (codes[:, None] == codes[None]) & ~same
    related = _nearest(away, alike)[alike.any(1)]
    text = _within(torch.cdist(metric.of(prose), seen), reach).amin(1) if len(prose) else torch.empty(0)
    limit = min(_quantile(foreign, FOREIGN), _quantile(related, RELATED), _quantile(text, TEXT))
    caught = own[(own <= limit) & (own < foreign)].sort().values
    # Beyond the radius that catches nearly all that can be caught there is nothing to win.
    radius = float(caught[int(NEARLY * (len(caught) - 1))]) if len(caught) else 0.0
    return Separation(layer, metric, radius, own, foreign, related, text, every, len(facts))


def _within(away: Tensor, reach: Tensor) -> Tensor:
    """Distances from keys (columns), infinite where the key does not reach."""
    return away.masked_fill(away > reach, float("inf"))


def _nearest(away: Tensor, allowed: Tensor) -> Tensor:
    return away.masked_fill(~allowed, float("inf")).amin(1)


def safe(layer: int, states: Tensor, facts: int, warning: str) -> Separation:
    """A radius within which hardly more than the very same state lies."""
    norm = float(states.norm(dim=1).median()) if len(states) else 1.0
    return uncalibrated(layer, states.shape[1], SAFE * norm, facts, warning)


def uncalibrated(
    layer: int, width: int, radius: float, facts: int = 0, warning: str | None = None
) -> Separation:
    """A radius that somebody chose, between states as they are."""
    none = torch.empty(0)
    return Separation(layer, None, radius, none, none, none, none, torch.empty(0, width), facts, warning)


def _quantile(distances: Tensor, part: float) -> float:
    """The largest radius within which at most `part` of the distances lie; infinite without any."""
    if not len(distances):
        return float("inf")
    ordered = distances.sort().values
    return float(ordered[min(int(part * len(ordered)), len(ordered) - 1)]) * (1 - 1e-6)


def share(true: Tensor) -> float:
    """How much of it is true; 0 of nothing."""
    return float(true.float().mean()) if len(true) else 0.0


def _median(distances: Tensor) -> float | None:
    finite = distances[distances.isfinite()]
    return float(finite.median()) if len(finite) else None
