"""Pictures of a calibration: how far own and foreign wordings lie by block, and what the radius catches, as PNG.

Knows figures that were computed elsewhere; runs no model. Draws without a display.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from torch import Tensor

from errata.statistics.separation import Separation

_COLOURS = {"own": "#33a02c", "related": "#ff7f00", "foreign": "#e31a1c", "text": "#1f78b4"}
_NAMES = {
    "own": "another wording of the fact",
    "related": "another fact of the subject",
    "foreign": "the nearest other fact",
    "text": "running text",
}
_BAND = (0.1, 0.5, 0.9)
_DPI = 150


def distances(found: Sequence[Separation], title: str) -> bytes:
    """By block: distances from the nearest key (median, 10 to 90 %) with the radius, and the shares within it. PNG."""
    shown = [one for one in sorted(found, key=lambda one: one.layer) if len(one.own)]
    figure = Figure(figsize=(10, 4), dpi=_DPI, layout="constrained")
    near, shares = figure.subplots(1, 2)
    for name, colour in _COLOURS.items():
        _band(near, shown, name, colour)
    near.plot([one.layer for one in shown], [one.radius for one in shown], "k--", label="radius")
    near.set_ylabel("distance, in deviations of a wording")
    near.set_ylim(bottom=0)
    summaries = [one.summary() for one in shown]
    for name, colour in _COLOURS.items():
        values = [one["caught" if name == "own" else name] for one in summaries]
        shares.plot([one.layer for one in shown], values, color=colour, marker=".")
    shares.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    shares.set_ylabel("share that fires a key")
    for axis in (near, shares):
        axis.set_xlabel("block")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=5, frameon=False)
    figure.suptitle(title, fontsize=11)
    stream = io.BytesIO()
    # Without the library's version the same figures give the same bytes.
    FigureCanvasAgg(figure).print_png(stream, metadata={"Software": None})
    return stream.getvalue()


def _band(axis: Axes, found: Sequence[Separation], name: str, colour: str) -> None:
    rows = [(one.layer, _quantiles(getattr(one, name))) for one in found]
    drawn = [(layer, values) for layer, values in rows if values]
    if drawn:
        layers, values = zip(*drawn, strict=True)
        low, middle, high = zip(*values, strict=True)
        axis.plot(layers, middle, color=colour, marker=".", label=_NAMES[name])
        axis.fill_between(layers, low, high, color=colour, alpha=0.2, linewidth=0)


def _quantiles(values: Tensor) -> list[float]:
    finite = values[values.isfinite()]
    return torch.quantile(finite, torch.tensor(_BAND, dtype=finite.dtype)).tolist() if len(finite) else []
