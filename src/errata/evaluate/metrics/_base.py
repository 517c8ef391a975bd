"""What a metric is, and the registry that finds them. Knows evidence and figures, and no metric in particular.

A metric is one file in this package, or a plug-in in the entry-point group "errata.metrics": a function under
`register_metric` from evidence to figures by name. The empty name is the metric itself, others are read as
"metric.name": teacher-forced versions beside the free one, sorts of a question. A figure that is undefined (nothing was
asked, or the model's numbers are no longer finite) is absent, never NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

from errata.evaluate.evidence import Evidence
from errata.evaluate.figures import Figure
from errata.registry import Registry

Figures: TypeAlias = Mapping[str, Figure | None]
Metric: TypeAlias = Callable[[Evidence], Figures]
METRICS: Registry[Metric] = Registry("metric", "errata.evaluate.metrics", "errata.metrics")


def register_metric(
    name: str, *, better: Literal["higher", "lower"], needs: tuple[str, ...], unit: str = "share"
) -> Callable[[Metric], Metric]:
    """Register a metric. Its function's first docstring line is its help text; `unit` is what its values are in.

    `needs` says which evidence it reads: kinds of questions (see `errata.evaluate.questions`), "texts",
    "continuations", "weights" or "downstream".
    """
    return METRICS.register(name, better=better, needs=needs, unit=unit)


def measure(evidence: Evidence, names: list[str] | None = None) -> dict[str, Figure]:
    """The figures of the metrics called `names`, or of all; a metric that the evidence says nothing about is absent.

    Raises: UnknownName.
    """
    found: dict[str, Figure] = {}
    for name in names or METRICS.names():
        for part, figure in METRICS.get(name)(evidence).items():
            if figure is not None and math.isfinite(figure.value):
                found[f"{name}.{part}" if part else name] = figure
    return found


def better(name: str) -> str:
    """Whether "higher" or "lower" values of a metric or of one of its parts are better. Raises: UnknownName."""
    return str(_meta(name)["better"])


def needs(name: str) -> tuple[str, ...]:
    """Which evidence a metric, or the metric of a part, reads. Raises: UnknownName."""
    return _meta(name)["needs"]


def meaning(name: str) -> str:
    """What a metric is, in one line. Raises: UnknownName."""
    return (METRICS.get(name.partition(".")[0]).__doc__ or "").strip().partition("\n")[0]


def _meta(name: str) -> Mapping[str, Any]:
    return METRICS.get(name.partition(".")[0]).meta  # type: ignore[attr-defined]
