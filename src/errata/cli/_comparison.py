"""What `errata bench` and `errata report` do with a comparison: run it, foresee it, report on it.

Knows the command line's side of a comparison; what one is `errata.evaluate.comparison` knows.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from errata.cli import _common as common

if TYPE_CHECKING:
    from errata.evaluate.comparison.folder import Folder
    from errata.evaluate.comparison.page import Report
    from errata.evaluate.comparison.plan import Comparison

REPORT = "report"


def bench(
    values: Mapping[str, Any], given: Mapping[str, Any], out: Path, *,
    jobs: int, resume: bool, dry_run: bool, as_json: bool,
) -> Mapping[str, str]:  # fmt: skip
    """Run the comparison that a recipe's values describe. `given` are options of `errata bench`.

    Returns why parts, or methods in them, could not be run.
    """
    from errata.evaluate.comparison.page import gathered
    from errata.evaluate.comparison.plan import Comparison
    from errata.evaluate.comparison.run import check, conduct

    plan = _narrowed(Comparison.of(values), given)
    check(plan)
    if dry_run:
        return _foresee(plan, as_json)
    folder = conduct(plan, out, resume=resume, progress=sys.stderr.isatty(), jobs=jobs)
    if as_json:
        common.print_json(_rows(folder))
    else:
        _tell(gathered(folder))
        click.echo(f"every answer and figure is in {out}; `errata report {out}` draws them")
    return folder.problems()


def report(folder: Folder, out: Path | None, *, dry_run: bool, as_json: bool) -> Path:
    """Write the report of a comparison, finished or not, and print its conclusions. Returns where its page is."""
    from errata.evaluate.comparison.page import gathered, write

    found = gathered(folder)
    out = out or folder.path / REPORT
    made = [out / name for name in found.names] if dry_run else write(found, out)
    if as_json:
        common.print_json([{**found.to_json(), "files": made}])
        return made[0]
    _tell(found)
    listed = ", ".join(found.names)
    click.echo(f"would write {listed} to {out}; nothing was written" if dry_run else f"{listed} written to {out}")
    return made[0]


def _narrowed(plan: Comparison, given: Mapping[str, Any]) -> Comparison:
    """The plan as options of `errata bench` change it; those that say nothing to a comparison are refused."""
    for name, value in given.items():
        if value is not None and name not in ("parts", "methods", "n"):
            raise click.UsageError(f"--{name} says nothing to a comparison; --parts, --methods and --n change it")
    return plan.narrowed(_names(given["methods"]), given["n"], _names(given["parts"]))


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in text.split(",")] if text else []


def _foresee(plan: Comparison, as_json: bool) -> Mapping[str, str]:
    """What would be run; reads the data, loads no model. Returns why parts could not be."""
    from errata.errors import ErrataError
    from errata.evaluate.setting import foreseen

    rows: dict[str, dict[str, Any]] = {}
    problems: dict[str, str] = {}
    for part in plan.parts:
        try:
            rows[part.name] = foreseen(part.recipe)
        except ErrataError as error:
            problems[part.name] = str(error)
    if as_json:
        common.print_json([{"part": name, **row} for name, row in rows.items()])
    else:
        common.print_plan({name: _in_short(row) for name, row in rows.items()}, as_json)
    return problems


def _in_short(row: Mapping[str, Any]) -> str:
    what = f"{row['model']}, {row['dataset']}, {row['protocol']}, {row['edits']:,} edits"
    return f"{what}, measured after {', '.join(map(str, row['checkpoints']))}: {', '.join(row['methods'])}"


def _rows(folder: Folder) -> list[dict[str, Any]]:
    """The figures at the end of every method's stream in every part."""
    runs = [
        (part.name, contender.label, folder.results(part).run(contender).figures())
        for part in folder.plan.parts
        for contender in part.recipe.methods
    ]
    return [{"part": name, "method": label, **measured[-1]} for name, label, measured in runs if measured]


def _tell(found: Report) -> None:
    for section in found.sections:
        click.echo(f"{section.name}: {' '.join(section.conclusions)}")
        for text in section.missing if section.missing != section.conclusions else ():
            click.echo(f"  missing: {text}")
