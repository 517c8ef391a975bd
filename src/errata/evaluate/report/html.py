"""The report as one HTML page, with its plots and style inside: no script, no network.

Knows the template beside it; what is said, drawn and tabulated others decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from errata.evaluate.report import tables
from errata.evaluate.report.drawing import DARK, LIGHT, Plot, svg
from errata.evaluate.report.made import AGAIN, facts, recipe_text
from errata.evaluate.report.page import Page
from errata.evaluate.report.words import comparisons, disabling, summary

HERE = Path(__file__).parent


def html(page: Page, plots: Sequence[Plot]) -> str:
    """The whole page."""
    return render(
        "page.html.j2", HERE, title=page.title,
        page=page, summary=summary(page), comparisons=comparisons(page),
        hardest=tables.hardest(page), disabling=disabling,
        tables=[table for table in (tables.final(page), tables.forced(page), tables.work(page)) if table],
        everything=tables.everything(page), again=AGAIN, facts=facts(page), recipe=recipe_text(page),
        plots=[(plot, drawings(plot)) for plot in plots],
    )  # fmt: skip


def drawings(plot: Plot) -> list[Markup]:
    """A plot's panels as elements of a page; no two plots of one page may share a name."""
    return [Markup(svg(panel, f"{plot.name}-{i}")) for i, panel in enumerate(plot.panels)]


def render(template: str, folder: Path, **values: Any) -> str:
    """A template of `folder` that extends frame.html.j2, which lies here and takes a `title`."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, HERE]), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    return environment.get_template(template).render(light=LIGHT, dark=DARK, columns=tables.columns, **values)
