"""The tables of a report, without a format: methods by metrics at the end of the stream, and what the edits cost.

Knows pages and words; HTML and Markdown write the same tables.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from errata.evaluate.figures import Figure
from errata.evaluate.metrics._base import meaning
from errata.evaluate.report.page import Entrant, Look, Page
from errata.evaluate.report.words import TITLES, interval, number, plural, requested, standing

MAIN = (
    "reliability", "generalization", "portability", "locality", "retention", "upstream-retention", "drawdown",
    "perplexity.change", "harmonic", "robustness", "fluency",
)  # fmt: skip
ABREAST = (
    "reliability", "generalization", "locality.neighbour", "locality.same_subject", "locality", "upstream-retention",
    "perplexity.change", "harmonic",
)  # fmt: skip
WAYS = {"": "free generation", ".forced": "forced, whole target", ".tokens": "forced, tokens"}
FIGURES = "Value, 95 % interval and n (edits, questions or texts). Bold: best, and told apart from every other."
COSTS = ("Bytes an edit", "Seconds an edit (median)")
HARDEST = 20  # single edits named
GRADED = ("reliability", "generalization")


@dataclass(frozen=True)
class Cell:
    """A value; `note` is its interval and n; `best` where it is told apart from every other in its column."""

    text: str
    note: str = ""
    best: bool = False


@dataclass(frozen=True)
class Table:
    """Rows under a head; every row's first entry is its name. `help` explains columns, by place."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    help: tuple[str, ...] = ()


ABSENT = Cell("–")


def final(page: Page) -> Table | None:
    """Methods by metrics; None where nothing was measured."""
    names, cells = _lined_up(page, MAIN)
    if not names:
        return None
    rows = tuple((_row_name(page, e), cells[e.label]) for e in page.entrants if e.last)
    return Table(FIGURES, ("Method", *(TITLES[name] for name in names)), rows, ("", *(meaning(name) for name in names)))


def abreast(page: Page) -> Table | None:
    """Methods by the figures and costs that a comparison puts abreast; None where nothing was measured.

    Costs are of the stream so far, figures of the last moment measured.
    """
    names, cells = _lined_up(page, ABREAST)
    if not names:
        return None
    rows = tuple((e.label, (_moment(page, e), *cells[e.label], *_costs(e))) for e in page.entrants if e.last)
    head = ("Method", "Edits", *(TITLES[name] for name in names), *COSTS)
    return Table(FIGURES, head, rows, ("", "after how many of them", *(meaning(name) for name in names), "", ""))


def forced(page: Page) -> Table | None:
    """Free generation beside teacher forcing; None where nothing was forced."""
    measured = [entrant for entrant in page.entrants if entrant.last]
    graded = [name for name in GRADED if any(_figure(e, f"{name}.forced") for e in measured)]
    names = [name + way for name in graded for way in WAYS]
    if not names:
        return None
    head = [f"{TITLES[base]}: {WAYS[dot + part]}" for base, dot, part in (name.partition(".") for name in names)]
    rows = tuple((_row_name(page, e), tuple(_cell(name, _figure(e, name)) for name in names)) for e in measured)
    caption = "The same answers, freely generated and forced token by token: what teacher forcing hides."
    return Table(caption, ("Method", *head), rows)


def work(page: Page) -> Table | None:
    """What became of the edits and what they cost; None where none was asked for."""
    head = ("Method", "Edits made", "Right already", "Failed", "Keys", *COSTS)
    rows = tuple((entrant.label, tuple(_worked(entrant))) for entrant in page.entrants if entrant.work)
    return Table("What became of the edits, and what they cost.", head, rows) if rows else None


def hardest(page: Page) -> Table | None:
    """Of the `single` protocol: the edits that alone raise perplexity most; None where it was not watched."""
    looks = [(entrant.label, look) for entrant in page.entrants for look in entrant.looks]
    if page.protocol != "single" or not looks:
        return None
    looks.sort(key=lambda pair: -math.inf if pair[1].perplexity is None else -pair[1].perplexity)
    rows = tuple(
        (requested(look.since[-1]), (Cell(label), Cell(_perplexity(look)), Cell(_times(look, page))))
        for label, look in looks[:HARDEST]
    )
    caption = f"The {len(rows)} single edits after which perplexity on a few texts is highest."
    return Table(caption, ("Edit", "Method", "Perplexity", "Times the start"), rows)


def everything(page: Page) -> Table | None:
    """All figures: metrics by methods."""
    measured = [entrant for entrant in page.entrants if entrant.last]
    names = sorted({name for e in measured if e.last for name in e.last.figures})
    if not names:
        return None
    rows = tuple((name, tuple(_cell(name, _figure(e, name)) for e in measured)) for name in names)
    return Table("Every figure at the last moment measured.", ("Figure", *(_row_name(page, e) for e in measured)), rows)


def _lined_up(page: Page, wanted: Sequence[str]) -> tuple[list[str], dict[str, tuple[Cell, ...]]]:
    """Which of the wanted figures anybody has, and everybody's cells for them, by label."""
    measured = [entrant for entrant in page.entrants if entrant.last]
    names = [name for name in wanted if any(_figure(e, name) for e in measured)]
    best = {name: _best(page, name) for name in names}
    cells = {e.label: tuple(_cell(name, _figure(e, name), best[name] == e.label) for name in names) for e in measured}
    return names, cells


def _moment(page: Page, entrant: Entrant) -> Cell:
    """After how many edits a method was measured; all that were asked for, where they do not pile up."""
    assert entrant.last
    if page.protocol != "sequential":
        return Cell(f"{entrant.work.asked:,}") if entrant.work else ABSENT
    edits = entrant.last.edits
    return Cell(f"{edits:,}", f"of {page.total:,}" if page.total and edits < page.total else "")


def _costs(entrant: Entrant) -> tuple[Cell, Cell]:
    work = entrant.work
    return (
        Cell(f"{work.bytes:,.0f}") if work and work.bytes is not None else ABSENT,
        Cell(f"{work.seconds:.3f}") if work and work.seconds is not None else ABSENT,
    )


def _perplexity(look: Look) -> str:
    return "no number" if look.perplexity is None else f"{look.perplexity:.4g}"


def _times(look: Look, page: Page) -> str:
    return "–" if look.perplexity is None or not page.start else f"×{look.perplexity / page.start:.3g}"


def _worked(entrant: Entrant) -> Iterator[Cell]:
    assert entrant.work
    for count in (entrant.work.made, entrant.work.right, entrant.work.failed, entrant.work.keys):
        yield Cell(f"{count:,}")
    yield from _costs(entrant)


def _row_name(page: Page, entrant: Entrant) -> str:
    """The label, and where it was measured earlier than the others: when."""
    assert entrant.last
    edits = entrant.last.edits
    return entrant.label if edits == page.end else f"{entrant.label} (after {plural(edits, 'edit')})"


def _figure(entrant: Entrant, name: str) -> Figure | None:
    return entrant.last.figures.get(name) if entrant.last else None


def _cell(name: str, figure: Figure | None, best: bool = False) -> Cell:
    if figure is None:
        return ABSENT
    return Cell(number(name, figure.value), f"{interval(name, figure)} n={figure.n:,}", best)


def _best(page: Page, name: str) -> str | None:
    found = standing(page, name)
    return found.best[0].label if found and found.clear else None


def columns(table: Table) -> Sequence[tuple[str, str]]:
    """The head's entries with their explanations."""
    return list(zip(table.head, table.help or ("",) * len(table.head), strict=True))
