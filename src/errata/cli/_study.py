"""What `errata bench` and `errata report` do with a study of canonical examples: run it, report on it.

Knows the command line's side of a study; what a study is `errata.evaluate.canonical` knows.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from errata.cli import _common as common

if TYPE_CHECKING:
    from errata.evaluate.canonical.folder import Folder
    from errata.evaluate.canonical.plan import Plan

REPORT = "report"


def bench(
    values: Mapping[str, Any], given: Mapping[str, Any], out: Path, *, resume: bool, dry_run: bool, as_json: bool
) -> None:
    """Run the study that a recipe's values describe, and write its report. `given` are options of `errata bench`."""
    from errata.evaluate.canonical.plan import Plan
    from errata.evaluate.canonical.study import conduct

    plan = Plan.of({**values, **_changed(given)})
    plan.check()
    if dry_run:
        _foresee(plan, as_json)
        return
    report(conduct(plan, out, resume=resume, progress=sys.stderr.isatty()), None, dry_run=False, as_json=as_json)


def report(folder: Folder, out: Path | None, *, dry_run: bool, as_json: bool) -> None:
    """Write the report of a study, finished or not, and print its means."""
    from errata.evaluate.canonical.outcome import findings
    from errata.evaluate.canonical.page import DATA, MARKDOWN, PICTURE, told, write

    found = findings(folder)
    out = out or folder.path / REPORT
    names = [MARKDOWN, DATA, *([PICTURE] if found.means else [])]
    files = [out / name for name in names] if dry_run else write(folder, out)
    if as_json:
        common.print_json([{**told(folder, found), "files": files}])
        return
    for name, task in found.before.items():
        if task.unmeasurable:
            click.echo(f"{name}: not measurable here: {task.unmeasurable}")
    for (label, ball), one in found.means.items():
        gain, low, high = (100 * number for number in (one.gain.value, one.gain.low, one.gain.high))
        click.echo(f"{label:20} ball {ball:<8g} {gain:+6.1f} points [{low:+.1f}, {high:+.1f}]  n={one.gain.n}")
    if found.missing:
        click.echo(f"{found.missing} runs are still to come; `errata bench --resume` goes on")
    listed = ", ".join(names)
    click.echo(f"would write {listed} to {out}; nothing was written" if dry_run else f"{listed} written to {out}")


def _changed(given: Mapping[str, Any]) -> dict[str, Any]:
    """Options of `errata bench` as a study's values; those that say nothing to a study are refused."""
    changed: dict[str, Any] = {}
    for name, value in given.items():
        if value is None:
            continue
        if name == "model":
            changed["model"] = value
        elif name == "dataset":
            changed["tasks"] = [item.strip() for item in value.split(",")]
        elif name == "n":
            changed["examples"] = value
        else:
            raise click.UsageError(f"--{name} says nothing to a study; --model, --dataset and --n change its recipe")
    return changed


def _foresee(plan: Plan, as_json: bool) -> None:
    """What would be run; reads the data, loads no model."""
    from errata.evaluate.canonical.study import count, halves

    sizes = {name: len(half.train) for (name, split), half in halves(plan).items() if split == "test"}
    learned = [f"{min(plan.examples, size)} of {name}" for name, size in sizes.items()]
    foreseen = {
        "model": plan.model, "tasks": list(plan.tasks), "examples": learned,
        "methods": [entrant.label for entrant in plan.methods], "balls": list(plan.balls), "seeds": list(plan.seeds),
        "runs": count(plan),
    }  # fmt: skip
    common.print_plan(foreseen, as_json)
