"""The report as Markdown, with the plots as pictures beside it.

Knows Markdown; what is said, drawn and tabulated others decide.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from errata.evaluate.report import tables
from errata.evaluate.report.drawing import Plot
from errata.evaluate.report.made import AGAIN, facts, recipe_text
from errata.evaluate.report.page import Entrant, Page
from errata.evaluate.report.tables import Cell, Table
from errata.evaluate.report.words import comparisons, disabling, plural, summary


def markdown(page: Page, plots: Sequence[Plot]) -> str:
    """The whole report."""
    return "\n".join(_lines(page, plots)) + "\n"


def _lines(page: Page, plots: Sequence[Plot]) -> Iterator[str]:
    yield f"# {_plain(page.title)}\n"
    yield _plain(" ".join(summary(page))) + "\n"
    if told := comparisons(page):
        yield from (f"* {_plain(sentence)}" for sentence in told)
        yield ""
    if page.missing:
        yield "**What is missing.**\n"
        yield from (f"* {_plain(text)}" for text in page.missing)
        yield ""
    for table in (tables.final(page), tables.forced(page), tables.work(page)):
        if table:
            yield from _table(table)
    for plot in plots:
        yield f"## {_plain(plot.title)}\n\n{_plain(plot.caption)}\n"
        yield f"![{_plain('; '.join(panel.title for panel in plot.panels))}]({plot.name.replace(' ', '%20')}.png)\n"
    for entrant in page.entrants:
        if entrant.collapse:
            yield f"* {_plain(entrant.label)}: {_plain(disabling(entrant.collapse, page.start or 0))}\n"
    if hard := tables.hardest(page):
        yield "## The hardest single edits\n"
        yield from _table(hard)
    yield from _examples(page.entrants)
    yield "## How this was made\n"
    yield from (f"* {name}: `{value}`" for name, value in facts(page))
    yield f"\nMade again with `{AGAIN}`, where `recipe.yaml` (it lies in the results) is\n"
    yield f"```yaml\n{recipe_text(page)}```"


def _table(table: Table) -> Iterator[str]:
    yield f"{_plain(table.caption)}\n"
    yield _row(table.head)
    yield _row(["---"] * len(table.head))
    for name, cells in table.rows:
        yield _row([_plain(name), *map(_cell, cells)])
    yield ""


def _cell(cell: Cell) -> str:
    text = f"**{_plain(cell.text)}**" if cell.best else _plain(cell.text)
    return f"{text} {_plain(cell.note)}".strip()


def _examples(entrants: Sequence[Entrant]) -> Iterator[str]:
    if any(entrant.cases or entrant.failures for entrant in entrants):
        yield "## What broke\n"
    for entrant in entrants:
        if entrant.cases:
            yield f"### {_plain(entrant.label)}\n"
            head = ("Prompt", "Expected", "Before", "Now", "What went wrong")
            rows = tuple(_texts(c.prompt, c.expected, c.before, c.now, c.why) for c in entrant.cases)
            yield from _table(Table("Up to ten telling answers at the last moment measured.", head, rows))
        if entrant.failures:
            yield f"{_plain(entrant.label)}: {plural(len(entrant.failures), 'edit')} not made.\n"
            requests = [(failure.request, failure.reason) for failure in entrant.failures]
            rows = tuple(_texts(asked.id, asked.prompt, asked.target, reason) for asked, reason in requests)
            yield from _table(Table("Every failure and its reason.", ("Edit", "Prompt", "Target", "Reason"), rows))


def _texts(name: str, *texts: str) -> tuple[str, tuple[Cell, ...]]:
    return name, tuple(map(Cell, texts))


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _plain(text: str) -> str:
    """Text on one line in which nothing is markup."""
    for mark in "\\`*_[]<>|":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())
