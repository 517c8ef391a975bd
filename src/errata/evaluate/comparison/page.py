"""The report of a comparison: conclusions on top, then of every part one table and one plot; as HTML, Markdown, JSON.

Knows the pages of parts; how tables and plots are written the report on one directory of results knows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from errata.evaluate.comparison.conclusions import RULES, conclusions
from errata.evaluate.comparison.folder import Folder
from errata.evaluate.report import files, tables
from errata.evaluate.report.drawing import Plot
from errata.evaluate.report.gather import gather
from errata.evaluate.report.html import drawings, render
from errata.evaluate.report.made import AGAIN, facts
from errata.evaluate.report.markdown import picture, plain, table_lines
from errata.evaluate.report.page import Page
from errata.evaluate.report.plots import overview
from errata.evaluate.report.words import scene

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Section:
    """A part as the report has it; `missing` is what of it is not there yet, in words."""

    name: str
    page: Page
    conclusions: tuple[str, ...]
    missing: tuple[str, ...]
    table: tables.Table | None
    plot: Plot | None

    @property
    def scene(self) -> str:
        """What was done, as far as anything was."""
        return scene(self.page) if self.page.end is not None else self.page.title

    def to_json(self) -> dict[str, Any]:
        told = {"name": self.name, "conclusions": self.conclusions, **files.told(self.page)}
        return {**told, "missing": self.missing}


@dataclass(frozen=True)
class Report:
    """A whole report on a comparison."""

    title: str
    recipe: str
    sections: tuple[Section, ...]

    @property
    def plots(self) -> list[Plot]:
        return [section.plot for section in self.sections if section.plot]

    @property
    def names(self) -> list[str]:
        """The files that the report consists of."""
        return [files.HTML, files.MARKDOWN, files.DATA, *map(files.picture, self.plots)]

    def to_json(self) -> dict[str, Any]:
        return {"title": self.title, "rules": RULES, "parts": [section.to_json() for section in self.sections]}


def gathered(folder: Folder) -> Report:
    """Everything a report says of a comparison, finished or not."""
    refused = folder.refused()
    sections = tuple(
        _section(part.name, gather(folder.results(part)), refused.get(part.name)) for part in folder.plan.parts
    )
    recipe = yaml.safe_dump(folder.plan.to_json(), sort_keys=False, allow_unicode=True)
    return Report(folder.plan.title or "A comparison", recipe, sections)


def write(found: Report, out: Path) -> list[Path]:
    """Write the report into the directory `out`, over an earlier one; each file is whole or absent. Returns them."""
    texts = {files.HTML: _html(found), files.MARKDOWN: _markdown(found), files.DATA: files.data(found.to_json())}
    return files.save(out, texts, found.plots)


def _section(name: str, page: Page, refused: str | None) -> Section:
    plot = overview(page)
    told = [f"It could not be run: {refused}"] if refused else []
    return Section(
        name, page, tuple(told or conclusions(page)), missing=tuple(told) or page.missing,
        table=tables.abreast(page), plot=dataclasses.replace(plot, name=name) if plot else None,
    )  # fmt: skip


def _html(found: Report) -> str:
    drawn = {section.name: drawings(section.plot) for section in found.sections if section.plot}
    made = {section.name: facts(section.page) for section in found.sections}
    return render(
        "comparison.html.j2", HERE, title=found.title, found=found, drawn=drawn, made=made, rules=RULES, again=AGAIN
    )


def _markdown(found: Report) -> str:
    return "\n".join(_lines(found)) + "\n"


def _lines(found: Report) -> Iterator[str]:
    yield f"# {plain(found.title)}\n"
    yield "## Conclusions\n"
    for section in found.sections:
        yield f"* **{plain(section.name)}**: {plain(' '.join(section.conclusions))}"
    yield f"\n{plain(RULES)}\n"
    for section in found.sections:
        yield from _part(section)
    yield "## How this was made\n"
    for section in found.sections:
        yield f"* {plain(section.name)}: {_facts(facts(section.page))}"
    yield f"\nMade again with `{AGAIN}`, where `recipe.yaml` lies in the results.\n"


def _part(section: Section) -> Iterator[str]:
    yield f"## {plain(section.name)}\n"
    yield f"{plain(section.scene)}\n"
    if section.table:
        yield from table_lines(section.table)
    if section.plot:
        yield f"{plain(section.plot.caption)}\n\n{picture(section.plot)}\n"
    if section.missing:
        yield "**What is missing.**\n"
        yield from (f"* {plain(text)}" for text in section.missing)
        yield ""


def _facts(rows: Sequence[tuple[str, str]]) -> str:
    return "; ".join(f"{name} `{value}`" for name, value in rows)
