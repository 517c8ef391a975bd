"""Average indirect effects: what many traces say together, by class of token and block, with bootstrap bands.

Knows traces and statistics; runs no model and draws nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from errata.locate.traces import CLASSES, Trace

RESAMPLES = 1000
_BAND = (0.025, 0.975)


@dataclass(frozen=True)
class Curve:
    """A mean over n facts and its 95 % bootstrap band, at each of L blocks (or one number: L = 1)."""

    n: int
    mean: list[float]
    low: list[float]
    high: list[float]


@dataclass(frozen=True)
class Effects:
    """What the traces of n facts say together. Effects are differences of probabilities, -1 to 1.

    Attributes:
        n: facts.
        clean: probability of the answer without noise.
        corrupted: with noise.
        total: total effect, clean less corrupted.
        indirect: for each kind and class of token, over the blocks: restored less corrupted, where a fact has several
            tokens of a class their mean. Classes that no fact has are absent.
    """

    n: int
    clean: Curve
    corrupted: Curve
    total: Curve
    indirect: Mapping[str, Mapping[str, Curve]]

    def peak(self, kind: str, label: str) -> tuple[int, float]:
        """The block with the largest average effect, and that effect."""
        mean = self.indirect[kind][label].mean
        best = max(range(len(mean)), key=mean.__getitem__)
        return best, mean[best]

    def rows(self) -> Iterator[dict[str, Any]]:
        """One record a cell: kind, class, block (kind "total" and so on have none), n, mean, low, high."""
        for name in ("clean", "corrupted", "total"):
            yield from _cells(getattr(self, name), kind=name)
        for kind, curves in self.indirect.items():
            for label, curve in curves.items():
                yield from _cells(curve, kind=kind, label=label)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def average(traces: Sequence[Trace], *, seed: int = 0) -> Effects:
    """The effects of at least one trace; `seed` is that of the bootstrap over facts."""
    counts = _resamples(len(traces), seed)
    clean = torch.tensor([[trace.clean] for trace in traces], dtype=torch.float64)
    corrupted = torch.tensor([[trace.corrupted] for trace in traces], dtype=torch.float64)
    indirect = {}
    for kind in traces[0].restored:
        tables = {label: _of_class(traces, kind, label) for label in CLASSES}
        indirect[kind] = {
            label: _curve(table, counts) for label, table in tables.items() if not table.isnan().all()
        }
    return Effects(
        len(traces), _curve(clean, counts), _curve(corrupted, counts), _curve(clean - corrupted, counts), indirect
    )


def _of_class(traces: Sequence[Trace], kind: str, label: str) -> Tensor:
    """(N, L): each fact's mean effect over its tokens of the class; NaN where it has none."""
    rows = []
    for trace in traces:
        here = torch.tensor([one == label for one in trace.classes])
        rows.append(trace.restored[kind][here].mean(0) - trace.corrupted)
    return torch.stack(rows)


def _resamples(n: int, seed: int) -> Tensor:
    """(R, N): how often each fact is drawn in each of the bootstrap's resamples."""
    drawn = torch.randint(n, (RESAMPLES, n), generator=torch.Generator().manual_seed(seed))
    return torch.zeros(RESAMPLES, n, dtype=torch.float64).scatter_add_(1, drawn, torch.ones_like(drawn).double())


def _curve(values: Tensor, counts: Tensor) -> Curve:
    """Mean and band over the facts of (N, L) that are not NaN."""
    here = ~values.isnan().any(1)
    chosen = counts[:, here]
    drawn = chosen.sum(1)
    means = (chosen @ values[here])[drawn > 0] / drawn[drawn > 0, None]
    low, high = (means.quantile(share, dim=0).tolist() for share in _BAND)
    return Curve(int(here.sum()), values[here].mean(0).tolist(), low, high)


def _cells(curve: Curve, **names: str) -> Iterator[dict[str, Any]]:
    blocks = range(len(curve.mean)) if "label" in names else [None]
    for block, mean, low, high in zip(blocks, curve.mean, curve.low, curve.high, strict=True):
        yield {
            "kind": names["kind"], "class": names.get("label"), "block": block,
            "n": curve.n, "mean": mean, "low": low, "high": high,
        }  # fmt: skip
