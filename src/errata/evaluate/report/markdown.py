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
    yield f"# {plain(page.title)}\n"
    yield plain(" ".join(summary(page))) + "\n"
    if told := comparisons(page):
        yield from (f"* {plain(sentence)}" for sentence in told)
        yield ""
    if page.missing:
        yield "**What is missing.**\n"
        yield from (f"* {plain(text)}" for text in page.missing)
        yield ""
    for table in (tables.final(page), tables.forced(page), tables.work(page)):
        if table:
            yield from table_lines(table)
    for plot in plots:
        yield f"## {plain(plot.title)}\n\n{plain(plot.caption)}\n"
        yield f"{picture(plot)}\n"
    for entrant in page.entrants:
        if entrant.collapse:
            yield f"* {plain(entrant.label)}: {plain(disabling(entrant.collapse, page.start or 0))}\n"
    if hard := tables.hardest(page):
        yield "## The hardest single edits\n"
        yield from table_lines(hard)
    yield from _examples(page.entrants)
    yield "## How this was made\n"
    yield from (f"* {name}: `{value}`" for name, value in facts(page))
    yield f"\nMade again with `{AGAIN}`, where `recipe.yaml` (it lies in the results) is\n"
    yield f"```yaml\n{recipe_text(page)}```"


def picture(plot: Plot) -> str:
    """A plot as the PNG file beside the report."""
    return f"![{plain('; '.join(panel.title for panel in plot.panels))}]({plot.name.replace(' ', '%20')}.png)"


def table_lines(table: Table) -> Iterator[str]:
    """A table under its caption."""
    yield f"{plain(table.caption)}\n"
    yield _row(table.head)
    yield _row(["---"] * len(table.head))
    for name, cells in table.rows:
        yield _row([plain(name), *map(_cell, cells)])
    yield ""


def _cell(cell: Cell) -> str:
    text = f"**{plain(cell.text)}**" if cell.best else plain(cell.text)
    return f"{text} {plain(cell.note)}".strip()


def _examples(entrants: Sequence[Entrant]) -> Iterator[str]:
    if any(entrant.cases or entrant.failures for entrant in entrants):
        yield "## What broke\n"
    for entrant in entrants:
        if entrant.cases:
            yield f"### {plain(entrant.label)}\n"
            head = ("Prompt", "Expected", "Before", "Now", "What went wrong")
            rows = tuple(_texts(c.prompt, c.expected, c.before, c.now, c.why) for c in entrant.cases)
            yield from table_lines(Table("Up to ten telling answers at the last moment measured.", head, rows))
        if entrant.failures:
            yield f"{plain(entrant.label)}: {plural(len(entrant.failures), 'edit')} not made.\n"
            requests = [(failure.request, failure.reason) for failure in entrant.failures]
            rows = tuple(_texts(asked.id, asked.prompt, asked.target, reason) for asked, reason in requests)
            yield from table_lines(Table("Every failure and its reason.", ("Edit", "Prompt", "Target", "Reason"), rows))


def _texts(name: str, *texts: str) -> tuple[str, tuple[Cell, ...]]:
    return name, tuple(map(Cell, texts))


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def plain(text: str) -> str:
    """Text on one line in which nothing is markup."""
    for mark in "\\`*_[]<>|":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())
