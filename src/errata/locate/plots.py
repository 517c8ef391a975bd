"""Pictures of what was located: heat maps and curves of average indirect effects, bars of salience, as PNG.

Knows figures that were computed elsewhere; runs no model. Draws without a display.
"""

from __future__ import annotations

import io

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from errata.locate.salience import Salience
from errata.locate.study import Study
from errata.locate.traces import KINDS

_NAMES = {"state": "state (block output)", "mlp": "MLP", "attention": "attention"}
_MAPS = {"state": "Purples", "mlp": "Greens", "attention": "Reds"}
_COLOURS = {"state": "#6a3d9a", "mlp": "#33a02c", "attention": "#e31a1c"}
_ROLES = {"mlp_up": "#a6cee3", "mlp_gate": "#1f78b4", "mlp_down": "#33a02c", "attn_out": "#e31a1c"}
_DPI = 150


def heat_maps(study: Study) -> bytes:
    """One map for each kind: average indirect effect by class of token (rows) and block (columns). PNG."""
    effects = study.effects()
    kinds = [kind for kind in KINDS if kind in effects.indirect]
    blocks = len(next(iter(effects.indirect[kinds[0]].values())).mean)
    labels = list(effects.indirect[kinds[0]])
    figure = _figure((2.4 + len(kinds) * max(2.8, min(0.32 * blocks, 6)), 1.5 + 0.42 * len(labels)))
    axes = figure.subplots(1, len(kinds), squeeze=False)[0]
    for place, (axis, kind) in enumerate(zip(axes, kinds, strict=True)):
        by_class = effects.indirect[kind]
        table = [by_class[label].mean for label in labels]
        top = max(max(row) for row in table)
        image = axis.imshow(table, cmap=_MAPS[kind], vmin=0, vmax=max(top, 1e-6), aspect="auto")
        axis.set_title(_restored(study, kind), fontsize=10)
        axis.set_xlabel("block")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set_yticks([])
        if not place:
            axis.set_yticks(range(len(labels)), [f"{label} (n={by_class[label].n})" for label in labels])
        figure.colorbar(image, ax=axis, format=PercentFormatter(1, decimals=None), shrink=0.9)
    total = effects.total
    figure.suptitle(
        f"Average indirect effect on the answer's probability: {_told(study)}\n"
        f"total effect {total.mean[0]:.1%} [{total.low[0]:.1%}, {total.high[0]:.1%}]",
        fontsize=11,
    )
    return _png(figure)


def curves(study: Study) -> bytes:
    """One panel for each class of token: average indirect effect of each kind over blocks, with 95 % bands. PNG."""
    effects = study.effects()
    labels = list(next(iter(effects.indirect.values())))
    columns = min(3, len(labels))
    lines = -(-len(labels) // columns)
    figure = _figure((1 + 3.2 * columns, 1.1 + 2.5 * lines))
    grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    for axis, label in zip(grid.flat, labels, strict=False):
        for kind, by_class in effects.indirect.items():
            curve = by_class[label]
            blocks = range(len(curve.mean))
            axis.plot(blocks, curve.mean, color=_COLOURS[kind], marker=".", label=_NAMES[kind])
            axis.fill_between(blocks, curve.low, curve.high, color=_COLOURS[kind], alpha=0.2, linewidth=0)
        _plain(axis, f"{label} (n={by_class[label].n})")
        axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    for axis in grid.flat[len(labels) :]:
        axis.set_visible(False)
    for axis in grid[:, 0]:
        axis.set_ylabel("indirect effect")
    for column in range(columns):
        grid[(len(labels) - 1 - column) // columns, column].set_xlabel("block")
    handles, names = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False)
    figure.suptitle(f"Average indirect effect with 95 % bootstrap bands: {_told(study)}", fontsize=11)
    return _png(figure)


def bars(found: Salience, seed: int) -> bytes:
    """Salience of each matrix of each block, with standard errors. PNG."""
    rows = found.rows()
    roles = [role for role in _ROLES if any(row["role"] == role for row in rows)]
    blocks = 1 + max(row["block"] for row in rows)
    figure = _figure((max(6.0, 1.5 + 0.22 * blocks * len(roles)), 3.8))
    axis = figure.subplots()
    width = 0.8 / len(roles)
    for place, role in enumerate(roles):
        mine = [row for row in rows if row["role"] == role]
        axis.bar(
            [row["block"] - 0.4 + (place + 0.5) * width for row in mine],
            [row["score"] for row in mine],
            width,
            yerr=[row["standard_error"] for row in mine],
            error_kw={"linewidth": 0.8},
            color=_ROLES[role],
            label=role,
        )
    block, role = found.best()
    counts = ", ".join(f"{count} {group}" for group, count in found.counts().items() if count)
    asked = f"n={len(found.samples)} samples ({counts}), seed {seed}"
    _plain(axis, f"Salience of {found.model}: largest {role} of block {block}\n{asked}")
    measure = "mean magnitude" if found.norm == "l1" else "root mean square"
    axis.set(xlabel="block", ylabel=f"{measure} of a gradient entry")
    axis.ticklabel_format(axis="y", scilimits=(-2, 3), useMathText=True)
    axis.legend(frameon=False, ncols=len(roles))
    axis.margins(x=0.02, y=0.12)
    return _png(figure)


def _told(study: Study) -> str:
    return f"{study.model}, n={len(study.traces)} facts, seed {study.settings.seed}"


def _restored(study: Study, kind: str) -> str:
    if kind == "state":
        return _NAMES[kind]
    return f"{_NAMES[kind]} of {study.window} block{'s' * (study.window > 1)}"


def _plain(axis: Axes, title: str) -> None:
    axis.set_title(title, fontsize=10)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.spines[["top", "right"]].set_visible(False)


def _figure(inches: tuple[float, float]) -> Figure:
    return Figure(figsize=inches, dpi=_DPI, layout="constrained")


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    # Without the library's version the same figures give the same bytes.
    FigureCanvasAgg(figure).print_png(stream, metadata={"Software": None})
    return stream.getvalue()


