"""A report as files: one HTML page that needs nothing else, Markdown, the plots as PNG, and the data as JSON.

Knows names of files; what stands in them the other modules here know. The same page gives the same bytes.
"""

from __future__ import annotations

import json
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
    content = {
        HTML: html(page, drawn).encode(), MARKDOWN: markdown(page, drawn).encode(), DATA: _data(page),
        **{picture(plot): png(plot) for plot in drawn},
    }  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    for name, data in content.items():
        write_atomic(out / name, data)
    return [out / name for name in content]


def told(page: Page) -> dict[str, Any]:
    """The page with its sentences, as JSON values."""
    return {"summary": summary(page), "comparisons": comparisons(page), **page.to_json()}


def _data(page: Page) -> bytes:
    return (json.dumps(told(page), ensure_ascii=False, indent=1) + "\n").encode()
