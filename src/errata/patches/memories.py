"""How a matrix beside another is read: for which inputs it speaks, through which mask, and what it then adds.

`Fingerprints` know an input by its largest entries (MEMOIR), `Distances` by how much the matrix makes of it (WISE). A
memory is a sum over shares in their order, so the same shares always give the same bits. Knows inputs of one linear
map, one a token; it knows no model, and not how a share was found.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from errata.errors import BadPatch
from errata.patches.shares import Share, drawn, unpacked


class Said(NamedTuple):
    """Tokens for which a memory speaks, (n,) long, and what it adds to what the matrix writes there, (n, d_out)."""

    tokens: Tensor
    added: Tensor


class Memory(ABC):
    """The shares of all standing edits, ready to be asked on one device. Immutable."""

    @abstractmethod
    def grown(self, shares: Sequence[Share]) -> Self:
        """With further shares after its own."""

    @property
    @abstractmethod
    def rows(self) -> int:
        """d_out."""

    @abstractmethod
    def say(self, inputs: Tensor) -> Said | None:
        """For inputs (N, d_in), float32; None where it speaks for none of them. Each is looked at by itself."""

    def added(self, inputs: Tensor) -> Tensor:
        """(N, d_out): what it adds for inputs (N, d_in), 0 where it does not speak."""
        said, beside = self.say(inputs), inputs.new_zeros(len(inputs), self.rows)
        if said is not None:
            beside[said.tokens] = said.added
        return beside


class Rule(ABC):
    """Which memory shares make. A frozen dataclass whose fields are JSON, but for tensors, which have names."""

    form: ClassVar[str]

    @property
    @abstractmethod
    def key(self) -> tuple[Any, ...]:
        """Equal keys: shares of one memory."""

    @abstractmethod
    def memory(self, rows: int, width: int, device: torch.device) -> Memory:
        """An empty one beside a matrix (rows, width)."""

    @abstractmethod
    def header(self) -> dict[str, Any]:
        """Its fields, as JSON."""

    def tensors(self) -> dict[str, Tensor]:
        """Those of its fields that are tensors."""
        return {}

    @property
    def partial(self) -> bool:
        """Whether it leaves its tensors to another rule of the same key."""
        return False

    def elsewhere(self) -> Self:
        """The same, its tensors left to another rule."""
        return self


@dataclass(frozen=True, eq=False)
class Fingerprints(Rule):
    """An input is known by its `kept` largest entries, less the background's: a mask. It is read through the nearest
    mask of an edit, if that shares at least `threshold` of its entries.

    Attributes:
        centre: (d_in,) float32, the background; None: left to another patch of the memory.
        seed: of the permutation that masks go through: the strongest inputs are then not the ones that are read.
        digest: of the centre.
    """

    form: ClassVar[str] = "fingerprints"
    kept: int
    threshold: float
    seed: int
    centre: Tensor | None = None
    digest: str = field(default="")

    def __post_init__(self) -> None:
        if self.centre is not None:
            own = self.centre.detach().to("cpu", torch.float32, copy=True).contiguous()
            object.__setattr__(self, "centre", own)
            object.__setattr__(self, "digest", hashlib.sha256(own.numpy().tobytes()).hexdigest()[:16])

    @property
    def key(self) -> tuple[Any, ...]:
        return (self.form, self.kept, self.threshold, self.seed, self.digest)

    def header(self) -> dict[str, Any]:
        names = ("kept", "threshold", "seed", "digest")
        return {"form": self.form, **{name: getattr(self, name) for name in names}}

    def tensors(self) -> dict[str, Tensor]:
        return {} if self.centre is None else {"centre": self.centre}

    @property
    def partial(self) -> bool:
        return self.centre is None

    def elsewhere(self) -> Fingerprints:
        return replace(self, centre=None)

    def masks(self, inputs: Tensor) -> Tensor:
        """(N, d_in) bool for inputs (N, d_in)."""
        assert self.centre is not None, "the background is in another file"
        largest = (inputs.detach() - self.centre.to(inputs.device)).abs().topk(self.kept, 1).indices
        order = _permutation(self.seed, inputs.shape[1]).to(inputs.device)
        return torch.zeros_like(inputs, dtype=torch.bool).scatter_(1, order[largest], True)

    def memory(self, rows: int, width: int, device: torch.device) -> Masked:
        none = torch.zeros(0, width, dtype=torch.bool, device=device)
        return Masked(self, torch.zeros(rows, width, device=device), none)


@cache
def _permutation(seed: int, width: int) -> Tensor:
    order = np.argsort(drawn(seed, 0, 4 * width).view(np.uint64), kind="stable")
    return torch.from_numpy(order)


@dataclass(frozen=True, eq=False)
class Masked(Memory):
    """matrix (mask . input), through the nearest mask.

    Attributes:
        matrix: (d_out, d_in).
        masks: (M, d_in) bool, oldest first.
    """

    rule: Fingerprints
    matrix: Tensor
    masks: Tensor

    @property
    def rows(self) -> int:
        return len(self.matrix)

    def grown(self, shares: Sequence[Share]) -> Masked:
        matrix, device, width = self.matrix.clone(), self.matrix.device, self.matrix.shape[1]
        parts = [self.masks]
        for share in shares:
            matrix += share.change(width, device)
            if share.masks is not None:
                parts.append(unpacked(share.masks, width).to(device))
        return replace(self, matrix=matrix, masks=torch.cat(parts))

    def say(self, inputs: Tensor) -> Said | None:
        if not len(self.masks):
            return None
        shared = self.rule.masks(inputs).float() @ self.masks.float().T
        most, nearest = shared.max(1)
        tokens = (most >= self.rule.threshold * self.rule.kept).nonzero()[:, 0]
        if not len(tokens):
            return None
        return Said(tokens, (inputs[tokens] * self.masks[nearest[tokens]]) @ self.matrix.T)


@dataclass(frozen=True, eq=False)
class Distances(Rule):
    """An input is an edit's if the matrix makes more of it than `threshold` times the least it made of any edit's token
    in training, `Share.nearest`.

    Shares come in shards, of which each has a matrix of its own, with `share` of the entries drawn by chance. When a
    shard after them has begun, `merge` shards become one matrix by TIES (Yadav et al., arXiv:2306.01708): of each the
    `density` share of largest entries, and of those the mean of the ones that agree with the sign of their sum. Of
    several matrices the one that makes most of an input speaks for it.
    """

    form: ClassVar[str] = "distances"
    threshold: float
    share: float
    seed: int
    merge: int
    density: float

    @property
    def key(self) -> tuple[Any, ...]:
        return (self.form, self.threshold, self.share, self.seed, self.merge, self.density)

    def header(self) -> dict[str, Any]:
        names = ("threshold", "share", "seed", "merge", "density")
        return {"form": self.form, **{name: getattr(self, name) for name in names}}

    def entries(self, shard: int, rows: int, width: int) -> Tensor:
        """(rows, width) bool, those that a shard may change."""
        return _entries(self.seed, shard, rows, width, self.share)

    def memory(self, rows: int, width: int, device: torch.device) -> Routed:
        return Routed(self, (rows, width), device)


@cache
def _entries(seed: int, shard: int, rows: int, width: int, share: float) -> Tensor:
    chosen = drawn(seed, shard, rows * width) < share * 2**16
    return torch.from_numpy(chosen).view(rows, width)


@dataclass(frozen=True, eq=False)
class Routed(Memory):
    """matrix . input, of the matrix that makes most of it.

    Attributes:
        sums: (d_out, d_in) by shard.
        nearest: by shard, the least of its shares.
        merged: by group of shards, what TIES makes of them, once a later shard has begun.
    """

    rule: Distances
    size: tuple[int, int]
    device: torch.device
    sums: Mapping[int, Tensor] = field(default_factory=dict)
    nearest: Mapping[int, float] = field(default_factory=dict)
    merged: Mapping[int, Tensor] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return self.size[0]

    def grown(self, shares: Sequence[Share]) -> Routed:
        sums, nearest = dict(self.sums), dict(self.nearest)
        for share in shares:
            shard, change = share.shard, share.change(self.size[1], self.device, self.entries(share.shard))
            sums[shard] = sums[shard] + change if shard in sums else change
            nearest[shard] = min(share.nearest, nearest.get(shard, share.nearest))
        return replace(self, sums=sums, nearest=nearest, merged=self._merged(sums, {one.shard for one in shares}))

    def entries(self, shard: int) -> Tensor:
        """As `Distances.entries`, on the memory's device."""
        return self.rule.entries(shard, *self.size).to(self.device)

    def _merged(self, sums: Mapping[int, Tensor], fresh: Set[int]) -> dict[int, Tensor]:
        groups: dict[int, list[int]] = {}
        for shard in sorted(sums):
            groups.setdefault(shard // self.rule.merge, []).append(shard)
        found = {}
        for group, shards in groups.items():
            if group < max(groups) and len(shards) > 1:
                known = self.merged.get(group) if fresh.isdisjoint(shards) else None
                found[group] = ties([sums[shard] for shard in shards], self.rule.density) if known is None else known
        return found

    def matrices(self) -> list[tuple[Tensor, float]]:
        """Those that can speak, oldest first, each with its least distance."""
        found: dict[tuple[int, int], tuple[Tensor, float]] = {}
        for shard in sorted(self.sums):
            group = shard // self.rule.merge
            if group in self.merged:
                _, least = found.get((group, 0), (None, self.nearest[shard]))
                found[group, 0] = (self.merged[group], min(least, self.nearest[shard]))
            else:
                found[group, shard] = (self.sums[shard], self.nearest[shard])
        return list(found.values())

    def say(self, inputs: Tensor) -> Said | None:
        matrices = self.matrices()
        if not matrices:
            return None
        added = torch.stack([inputs @ matrix.T for matrix, _ in matrices])
        far = added.detach().norm(dim=-1)
        least = torch.tensor([self.rule.threshold * least for _, least in matrices], device=far.device)
        most, speaker = far.masked_fill(far <= least[:, None], -1.0).max(0)
        tokens = (most > 0).nonzero()[:, 0]
        return Said(tokens, added[speaker[tokens], tokens]) if len(tokens) else None


def ties(changes: Sequence[Tensor], density: float) -> Tensor:
    """TIES of changes of one matrix: see `Distances`."""
    trimmed = torch.stack([_trimmed(change, density) for change in changes])
    agree = trimmed.sign() == trimmed.sum(0).sign()
    kept = trimmed * agree
    return kept.sum(0) / (kept != 0).sum(0).clamp(min=1)


def _trimmed(change: Tensor, density: float) -> Tensor:
    left_out = round((1 - density) * change.numel())
    if left_out == 0:
        return change
    least = change.abs().flatten().kthvalue(left_out).values
    return change * (change.abs() > least)


RULES: dict[str, type[Rule]] = {rule.form: rule for rule in (Fingerprints, Distances)}


def rule_of(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Rule:
    """Inverse of `Rule.header` and `Rule.tensors`. Raises: BadPatch."""
    told = dict(header)
    kind = RULES.get(told.pop("form", ""))
    if kind is None:
        raise BadPatch(f"a residual is read by the unknown rule {header.get('form')!r}; update errata")
    return kind(**told, **tensors)
