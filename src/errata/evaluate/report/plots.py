"""The plots of a report: decay over the stream, reliability against locality, sweeps of an option, and collapse.

Knows pages; how a drawing becomes a file `drawing` knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter, PercentFormatter

from errata.evaluate.figures import Figure
from errata.evaluate.report.drawing import INK, Label, Panel, Plot, colour, label_points, marker, style
from errata.evaluate.report.gather import COLLAPSED
from errata.evaluate.report.page import Entrant, Page, Sweep
from errata.evaluate.report.words import TITLES, told

DECAY = ("reliability", "generalization", "locality", "upstream-retention", "perplexity.change")
SWEPT = ("reliability", "generalization", "locality", "upstream-retention")
SHORT = {"upstream-retention": "upstream"}
HIGHEST = 1e6  # times the perplexity before: a ruined model's is drawn there


def plots(page: Page) -> list[Plot]:
    """Every plot that the page has figures for."""
    found = [_decay(page), _balance(page), *(_sweep(page, sweep) for sweep in page.sweeps), _collapse(page)]
    return [plot for plot in found if plot and plot.panels]


def overview(page: Page) -> Plot | None:
    """The one plot that says most: figures over the stream, or at its end where nobody was measured twice."""
    over = _decay(page)
    return over if over.panels else _balance(page)


def _decay(page: Page) -> Plot:
    caption = "Figures over the stream; bands are 95 % intervals."
    return Plot("decay", "Over the stream", caption, tuple(_decays(page)))


def _decays(page: Page) -> Iterator[Panel]:
    for name in DECAY:
        series = [
            (place, entrant, [(c.edits, c.figures[name]) for c in entrant.checkpoints if name in c.figures])
            for place, entrant in enumerate(page.entrants)
        ]
        series = [one for one in series if one[2]]
        if any(len(points) > 1 for _, _, points in series):
            alt = "; ".join(f"{entrant.label} {_course(name, points)}" for _, entrant, points in series)
            title = TITLES[name] if name != "perplexity.change" else "Perplexity, × the unedited model's"
            yield Panel(title, f"{title} over the number of edits: {alt}.", _drawn(name, series))


def _course(name: str, points: Sequence[tuple[int, Figure]]) -> str:
    return ", ".join(f"{told(name, figure)} after {edits}" for edits, figure in points)


def _drawn(name: str, series: Sequence[tuple[int, Entrant, Sequence[tuple[int, Figure]]]]) -> Callable[[Axes], None]:
    ratio = name == "perplexity.change"

    def scaled(value: float) -> float:
        return min(max(1 + value, 1e-3), HIGHEST) if ratio else value

    def draw(axes: Axes) -> None:
        labels = []
        for place, entrant, points in series:
            edits = [count for count, _ in points]
            middle, low, high = (
                [scaled(getattr(figure, part)) for _, figure in points] for part in ("value", "low", "high")
            )
            tone = colour(place)
            axes.plot(edits, middle, color=tone, marker=marker(place), linestyle=style(place))
            axes.fill_between(edits, low, high, color=tone, alpha=0.1, linewidth=0)
            labels.append(Label(edits[-1], middle[-1], entrant.label, tone))
        _logarithmic(axes, [count for _, _, points in series for count, _ in points])
        axes.set_xlabel("edits")
        if ratio:
            _multiples(axes)
        else:
            _percent(axes)
        label_points(axes, labels)

    return draw


def _balance(page: Page) -> Plot | None:
    locality = {entrant.label: figure for entrant, figure in page.figures("locality")}
    points = [
        (page.entrants.index(entrant), entrant.label, figure, locality[entrant.label])
        for entrant, figure in page.figures("reliability")
        if entrant.label in locality
    ]
    if not points:
        return None
    alt = "; ".join(
        f"{label}: reliability {told('reliability', x)}, locality {told('locality', y)}" for _, label, x, y in points
    )

    def draw(axes: Axes) -> None:
        for place, _, x, y in points:
            axes.errorbar(
                x.value, y.value, xerr=_arms(x), yerr=_arms(y), color=colour(place), marker=marker(place),
                elinewidth=1, markersize=6,
            )  # fmt: skip
        axes.set(xlim=(-0.03, 1.03), xlabel="reliability", ylabel="locality")
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        _percent(axes)
        label_points(axes, [Label(x.value, y.value, label, colour(place)) for place, label, x, y in points])

    caption = "At the end of the stream. Up and to the right is better; bars are 95 % intervals."
    panel = Panel("Edits that hold, and what they leave", alt, draw)
    return Plot("balance", "Reliability against locality", caption, (panel,))


def _arms(figure: Figure) -> list[list[float]]:
    """An interval as matplotlib's error bars want it."""
    return [[figure.value - figure.low], [figure.high - figure.value]]


def _sweep(page: Page, sweep: Sweep) -> Plot | None:
    last = {entrant.label: entrant.last for entrant in page.compared}
    series = []
    for place, name in enumerate(SWEPT):
        found = [(value, checkpoint.figures.get(name)) for value, label in sweep.points if (checkpoint := last[label])]
        if points := [(value, figure) for value, figure in found if figure]:
            series.append((place, name, points))
    if not series:
        return None
    alt = "; ".join(
        f"{name} {', '.join(f'{told(name, figure)} at {value:g}' for value, figure in points)}"
        for _, name, points in series
    )

    def draw(axes: Axes) -> None:
        values = [value for value, _ in sweep.points]
        for place, _, points in series:
            at = [value for value, _ in points]
            low, high = [figure.low for _, figure in points], [figure.high for _, figure in points]
            axes.plot(at, [figure.value for _, figure in points], color=colour(place), marker=marker(place))
            axes.fill_between(at, low, high, color=colour(place), alpha=0.1, linewidth=0)
        if min(values) > 0 and max(values) / min(values) >= 4:
            _logarithmic(axes, values)
        axes.set_xticks(values, [f"{value:g}" for value in values])
        axes.set_xlabel(sweep.option)
        _percent(axes)
        ends = [(colour(place), SHORT.get(name) or name, points[-1]) for place, name, points in series]
        label_points(axes, [Label(at, figure.value, name, tone) for tone, name, (at, figure) in ends])

    title = f"{sweep.method}: what {sweep.option} trades"
    caption = f"Contenders that differ in {sweep.option} alone, at the end of the stream; bands are 95 % intervals."
    return Plot(f"sweep-{sweep.method}-{sweep.option}", title, caption, (Panel(title, alt, draw),))


def _collapse(page: Page) -> Plot | None:
    start = page.start
    watched = [(place, e, _watched(e, start)) for place, e in enumerate(page.entrants)] if start else []
    watched = [one for one in watched if len(one[2]) > 1]
    if start is None or page.protocol != "sequential" or not watched:
        return None
    alt = "; ".join(f"{e.label} from {points[0][1]:.4g} to {points[-1][1]:.4g}" for _, e, points in watched)

    def draw(axes: Axes) -> None:
        labels = []
        for place, entrant, points in watched:
            axes.plot(*zip(*points, strict=True), color=colour(place), linestyle=style(place))
            labels.append(Label(*points[-1], entrant.label, colour(place)))
            if entrant.collapse:
                at = next(point for point in points if point[0] == entrant.collapse.edits)
                axes.plot(*at, color=colour(place), marker="X", markersize=9)
        axes.axhline(COLLAPSED * start, color=INK, linewidth=0.8, linestyle="--")
        if max(value for _, _, points in watched for _, value in points) > 10 * start:
            axes.set_yscale("log")
        axes.set(xlabel="edits", ylabel="perplexity")
        label_points(axes, [*labels, Label(watched[0][2][-1][0], COLLAPSED * start, "twice the start", INK)])

    fallen = "A cross marks the look from which on it stays above twice its start."
    calm = "With no method does it stay above twice its start."
    caption = f"Perplexity on a few texts. {fallen if any(e.collapse for _, e, _ in watched) else calm}"
    return Plot("collapse", "Watching for collapse", caption, (Panel("Perplexity while edits pile up", alt, draw),))


def _watched(entrant: Entrant, start: float | None) -> list[tuple[int, float]]:
    highest = HIGHEST * (start or 1)
    return [(look.edits, min(look.perplexity or highest, highest)) for look in entrant.looks]


def _percent(axes: Axes) -> None:
    axes.set_ylim(-0.03, 1.03)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))


def _logarithmic(axes: Axes, values: Sequence[float]) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    if len(distinct := sorted(set(values))) <= 6:
        axes.set_xticks(distinct)


def _multiples(axes: Axes) -> None:
    low, high = axes.get_ylim()
    if high > 10:
        low = axes.dataLim.ymin  # with its margin it may be below nought
        axes.set_yscale("log")
    axes.set_ylim(min(low, 0.9), max(high, 1.1))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"×{value:g}"))
