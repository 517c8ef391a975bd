"""The report as one HTML page, with its plots and style inside: no script, no network.

Knows the template beside it; what is said, drawn and tabulated others decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import jinja2
from markupsafe import Markup

from errata.evaluate.report import tables
from errata.evaluate.report.drawing import DARK, LIGHT, Plot, svg
from errata.evaluate.report.made import AGAIN, facts, recipe_text
from errata.evaluate.report.page import Page
from errata.evaluate.report.words import comparisons, disabling, summary


def html(page: Page, plots: Sequence[Plot]) -> str:
    """The whole page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    return environment.get_template("page.html.j2").render(
        page=page, summary=summary(page), comparisons=comparisons(page), light=LIGHT, dark=DARK,
        hardest=tables.hardest(page), disabling=disabling,
        tables=[table for table in (tables.final(page), tables.forced(page), tables.work(page)) if table],
        everything=tables.everything(page), columns=tables.columns, again=AGAIN, facts=facts(page),
        recipe=recipe_text(page),
        plots=[(plot, [Markup(svg(p, f"{plot.name}-{i}")) for i, p in enumerate(plot.panels)]) for plot in plots],
    )  # fmt: skip
