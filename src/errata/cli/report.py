"""`errata report`: a directory of results as one HTML page with plots, and as Markdown, PNG and JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from errata.cli import _common as common
from errata.cli import _comparison, _study

if TYPE_CHECKING:
    from errata.evaluate.report.page import Page


@click.command()
@click.argument("results", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    show_default="RESULTS/report",
    metavar="DIR",
    help="Where files go.",
)
@click.option("--open", "show", type=bool, default=False, metavar="yes|no", help="Show the page in a browser (no).")
@common.dry_run_option
@common.json_option
def command(results: Path, out: Path | None, show: bool, dry_run: bool, as_json: bool) -> None:
    """Report on RESULTS, the directory that `errata bench --out` wrote, finished or not.

    Writes report.html, which needs nothing beside it, report.md, report.json and the plots as PNG files. No model is
    loaded, and the same results give the same files. A study of canonical examples has report.md, report.json and
    gains.png; a comparison has one plot a part, and parts can be reported on alone.
    """
    from errata.evaluate.canonical.folder import Folder, is_study
    from errata.evaluate.comparison.folder import Folder as Compared
    from errata.evaluate.comparison.folder import is_comparison
    from errata.evaluate.report.files import HTML, names, told, write
    from errata.evaluate.report.gather import gather
    from errata.evaluate.results import Results

    if is_study(results):
        _study.report(Folder.open(results), out, dry_run=dry_run, as_json=as_json)
        return
    if is_comparison(results):
        place = _comparison.report(Compared.open(results), out, dry_run=dry_run, as_json=as_json)
        _open(place, show and not dry_run)
        return
    page = gather(Results.open(results))
    out = out or results / "report"
    files = [out / name for name in names(page)] if dry_run else write(page, out)
    if as_json:
        common.print_json([{**told(page), "files": files}])
    else:
        _tell(page, files, dry_run)
    _open(out / HTML, show and not dry_run)


def _open(page: Path, wanted: bool) -> None:
    if wanted:
        click.launch(str(page))


def _tell(page: Page, files: list[Path], dry_run: bool) -> None:
    from errata.evaluate.report.words import comparisons, summary

    for sentence in (*summary(page), *comparisons(page), *(f"missing: {text}" for text in page.missing)):
        click.echo(sentence)
    told, out = ", ".join(file.name for file in files), files[0].parent
    click.echo(f"would write {told} to {out}; nothing was written" if dry_run else f"{told} written to {out}")
