"""A report as files: one HTML page that needs nothing else, Markdown, the plots as PNG, and the data as JSON.

Knows names of files; what stands in them the other modules here know. The same page gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from errata.durable import write_atomic
from errata.evaluate.report.drawing import Plot, png
from errata.evaluate.report.html import html
from errata.evaluate.report.markdown import markdown
from errata.evaluate.report.page import Page
from errata.evaluate.report.plots import plots
from errata.evaluate.report.words import comparisons, summary

HTML, MARKDOWN, DATA = "report.html", "report.md", "report.json"


def names(page: Page) -> list[str]:
    """The files that a report of this page consists of."""
    return [HTML, MARKDOWN, DATA, *(picture(plot) for plot in plots(page))]


def picture(plot: Plot) -> str:
    return f"{plot.name}.png"


def write(page: Page, out: Path) -> list[Path]:
    """Write the report into the directory `out`, over an earlier one; each file is whole or absent. Returns them."""
    drawn = plots(page)
    return save(out, {HTML: html(page, drawn), MARKDOWN: markdown(page, drawn), DATA: data(told(page))}, drawn)


def save(out: Path, texts: Mapping[str, str], drawn: Sequence[Plot]) -> list[Path]:
    """Texts by name, and plots as pictures, into the directory `out`; each file is whole or absent. Returns them."""
    content = {name: text.encode() for name, text in texts.items()} | {picture(plot): png(plot) for plot in drawn}
    out.mkdir(parents=True, exist_ok=True)
    for name, held in content.items():
        write_atomic(out / name, held)
    return [out / name for name in content]


def told(page: Page) -> dict[str, Any]:
    """The page with its sentences, as JSON values."""
    return {"summary": summary(page), "comparisons": comparisons(page), **page.to_json()}


def data(values: Any) -> str:
    """JSON values as a report has them."""
    return json.dumps(values, ensure_ascii=False, indent=1) + "\n"
