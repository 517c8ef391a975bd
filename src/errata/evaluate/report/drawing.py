"""The canvas of a report's plots: palette, labels at the lines' ends, SVG that follows the page's colours, and PNG.

Knows matplotlib and colours; knows nothing of what is drawn. The same drawing gives the same bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# Told apart by the colour-blind, and text in each has a contrast of 4.5 or more to the page, light and dark.
LIGHT = ("#0062b1", "#b34700", "#00735c", "#a3377e", "#7a5c00", "#5b5f66", "#0a7391", "#8b1a1a")
DARK = ("#6cb8ff", "#ff9a5c", "#4fd1ae", "#f19ad0", "#f0cf5a", "#c0c4cc", "#7fe0ff", "#ff8080")
MARKERS = "osD^vPX*"
INK, FAINT = "#1b1f24", "#c9ced6"
STYLE: Any = {
    "svg.hashsalt": "errata", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 10,
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK, "xtick.color": INK, "ytick.color": INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 11, "axes.titlelocation": "left",
    "axes.grid": True, "grid.color": FAINT, "grid.linewidth": 0.5, "lines.linewidth": 1.6, "lines.markersize": 4.5,
}  # fmt: skip
PANEL = (4.3, 3.0)  # inches
COLUMNS = 3  # panels side by side in a PNG
DPI = 160
GAP = 0.095  # between labels, share of a panel's height
LEADER = {"arrowstyle": "-", "linewidth": 0.6, "alpha": 0.6, "shrinkA": 1, "shrinkB": 3, "relpos": (0, 0.5)}
LONGEST = 24  # characters of a label


@dataclass(frozen=True)
class Panel:
    """One drawing: `alt` says in words what it shows, `draw` draws it on axes."""

    title: str
    alt: str
    draw: Callable[[Axes], None]


@dataclass(frozen=True)
class Plot:
    """Panels that belong together under one file name."""

    name: str
    title: str
    caption: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Label:
    """A text beside the panel for the point (x, y) of the data."""

    x: float
    y: float
    text: str
    colour: str


def colour(place: int) -> str:
    return LIGHT[place % len(LIGHT)]


def marker(place: int) -> str:
    return MARKERS[place % len(MARKERS)]


def style(place: int) -> str:
    """Of a line: where colours come round again, it changes."""
    return ("-", "--", ":", "-.")[place // len(LIGHT) % 4]


def label_points(axes: Axes, labels: Sequence[Label]) -> None:
    """Write labels to the right of the panel at the height of their points, moved apart where they would overlap."""
    axes.autoscale_view()  # settles the scale that heights are read from
    to_share = axes.transData + axes.transAxes.inverted()
    heights = [float(to_share.transform((label.x, label.y))[1]) for label in labels]
    for label, height in zip(labels, spread(heights, GAP), strict=True):
        text = label.text if len(label.text) <= LONGEST else label.text[: LONGEST - 1] + "…"
        axes.annotate(
            text, (label.x, label.y), (1.04, height), xycoords="data", textcoords="axes fraction", va="center",
            color=label.colour, annotation_clip=False,
            arrowprops=LEADER | {"color": label.colour},
        )  # fmt: skip


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Heights in [0, 1] as near as order allows to those given, and `gap` apart (less where they would not fit).

    Of equal ones the first stands highest.
    """
    gap = min(gap, 1 / max(len(heights) - 1, 1))
    order = sorted(range(len(heights)), key=lambda i: (heights[i], -i))
    placed = list(heights)
    floor = 0.0
    for i in order:
        placed[i] = max(placed[i], floor)
        floor = placed[i] + gap
    ceiling = 1.0
    for i in reversed(order):
        placed[i] = min(placed[i], ceiling)
        ceiling = placed[i] - gap
    return placed


def svg(panel: Panel, name: str) -> str:
    """The panel as an SVG element for the inside of a page; its colours are the page's custom properties.

    `name` keeps its ids apart from those of other panels.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=PANEL, layout="constrained")
        _draw(panel, figure.subplots())
        stream = io.StringIO()
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        FigureCanvasSVG(figure).print_svg(stream, metadata=metadata)
    return _inline(stream.getvalue(), panel, name)


def png(plot: Plot) -> bytes:
    """All panels of a plot in one picture, on white."""
    columns = min(COLUMNS, len(plot.panels))
    lines = -(-len(plot.panels) // columns)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(PANEL[0] * columns, PANEL[1] * lines), dpi=DPI, layout="constrained")
        grid = list(figure.subplots(lines, columns, squeeze=False).flat)
        for panel, axes in zip(plot.panels, grid, strict=False):
            _draw(panel, axes)
        for axes in grid[len(plot.panels) :]:
            axes.set_visible(False)
        stream = io.BytesIO()
        FigureCanvasAgg(figure).print_png(stream, metadata={"Software": None})
    return stream.getvalue()


def _draw(panel: Panel, axes: Axes) -> None:
    axes.set_title(panel.title)
    panel.draw(axes)


def _inline(document: str, panel: Panel, name: str) -> str:
    """The <svg> element alone: no prologue, no namespaces, own ids, a text for those who cannot see it."""
    element = document[document.index("<svg") :].strip()
    element = re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.DOTALL)
    head, rest = element.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)
    assert box
    rest = re.sub(r'\bid="([^"]*)"', rf'id="{name}-\1"', rest)
    rest = re.sub(r"url\(#([^)]*)\)", rf"url(#{name}-\1)", rest)
    rest = re.sub(r'xlink:href="#([^"]*)"', rf'href="#{name}-\1"', rest)
    for place, value in enumerate(LIGHT):
        rest = rest.replace(value, f"var(--series-{place})")
    rest = rest.replace(INK, "var(--ink)").replace(FAINT, "var(--grid)").replace("#ffffff", "none")
    alt = panel.alt.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return f'<svg {box.group()} role="img" aria-label="{alt}">{rest}'
