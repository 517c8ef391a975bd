"""The picture of a training: loss, success and drawdown on validation by step, as PNG.

Knows rows of figures; trains nothing. Draws without a display.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

_SHARES = {"success": "#33a02c", "generalization": "#1f78b4", "drawdown": "#e31a1c"}
_LOSSES = {"loss": ("validation", "#1f78b4"), "training_loss": ("training", "#a6cee3")}
_DPI = 150


def curve_png(rows: Sequence[Mapping[str, Any]], title: str) -> bytes:
    """Losses on the left, shares of validation on the right. PNG."""
    figure = Figure(figsize=(10, 4), dpi=_DPI, layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, (label, colour) in _LOSSES.items():
        _line(left, rows, name, label, colour)
    left.set_ylabel("loss")
    for name, colour in _SHARES.items():
        _line(right, rows, name, name, colour)
    right.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    right.set_ylabel("share of validation")
    for axis in (left, right):
        axis.set_xlabel("step")
        axis.set_ylim(bottom=0)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False)
    figure.suptitle(title, fontsize=11)
    stream = io.BytesIO()
    # Without the library's version the same figures give the same bytes.
    FigureCanvasAgg(figure).print_png(stream, metadata={"Software": None})
    return stream.getvalue()


def _line(axis: Any, rows: Sequence[Mapping[str, Any]], name: str, label: str, colour: str) -> None:
    points = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
    if points:
        axis.plot(*zip(*points, strict=True), color=colour, label=label, marker=".", markersize=4)
