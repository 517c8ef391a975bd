"""`errata calibrate`: at which block, and within which radius, a model's states tell a fact from others."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from errata.cli import _common as common

if TYPE_CHECKING:
    from errata.statistics.separation import Separation

TABLE, PICTURE = "calibration.json", "distances.png"


@click.command()
@common.required_model_option
@click.option(
    "--facts",
    metavar="SOURCE",
    help="Facts in several wordings: a file of edits with rephrases, or a data set; by default those in the package.",
)
@click.option("--corpus", metavar="SOURCE", help="Text in which no key may fire; by default the prose in the package.")
@click.option("--layer", metavar="BLOCK", help="One block, by number or as a fraction of the depth; by default many.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Where files go.")
@common.dry_run_option
@common.json_option
def command(
    model: str,
    facts: str | None,
    corpus: str | None,
    layer: str | None,
    out: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Measure where MODEL tells wordings of one fact from other facts, and keep the result in the cache.

    The method `chain` finds its block, metric and radius there; give `errata edit` the same --facts and --corpus.
    With --out the figures go to JSON and a picture of own and foreign distances by block to PNG.
    """
    common.quiet()
    from errata.methods._base import coerce
    from errata.models import EditableModel
    from errata.statistics import corpus_for, packaged_prose
    from errata.statistics.calibration import best, calibrate, candidates, is_calibrated
    from errata.statistics.phrasings import phrasings_for

    wordings = phrasings_for(facts)
    editable = EditableModel.load(model)
    text = packaged_prose() if corpus is None else corpus_for(editable, corpus)
    layers = candidates(editable) if layer is None else [editable.layer_of(coerce(layer, int | float, "layer"))]
    before = {one: is_calibrated(editable, one, wordings, text) for one in layers}
    if dry_run:
        missing = [one for one in layers if not before[one]]
        rows = [{"layer": one, "status": "cached" if before[one] else "missing"} for one in layers]
        _say(rows, as_json, f"would measure {len(missing)} blocks on {len(wordings.facts)} facts; nothing was written")
        return
    started = time.perf_counter()
    found = calibrate(editable, layers, wordings, text, progress=sys.stderr.isatty())
    chosen = best(found).layer
    rows = [
        {**one.summary(), "chosen": one.layer == chosen, "status": "cached" if before[one.layer] else "computed"}
        for one in found.values()
    ]
    if out:
        _write(out, rows, list(found.values()), f"{editable.name}, {len(wordings.facts)} facts of {wordings.name}")
    took = time.perf_counter() - started
    _say(rows, as_json, _told(rows, chosen, len(wordings.facts), wordings.name, wordings.skipped, took))


def _say(rows: list[dict[str, Any]], as_json: bool, text: str) -> None:
    if as_json:
        common.print_json(rows)
    else:
        click.echo(text)


def _told(rows: list[dict[str, Any]], chosen: int, facts: int, source: str, skipped: int, seconds: float) -> str:
    lines = [f"{facts} facts of {source} in two or more wordings ({skipped} in one left out), {seconds:.1f} s"]
    lines.append("block   radius  wordings caught  other facts  same subject  running text")
    for row in rows:
        mark = "*" if row["chosen"] else " "
        if row["warning"]:
            lines.append(f"{row['layer']:>5}{mark} {row['radius']:>7.2f}  {row['warning']}")
            continue
        lines.append(
            f"{row['layer']:>5}{mark} {row['radius']:>7.2f} {row['caught']:>16.1%} {row['foreign']:>12.1%} "
            f"{row['related']:>13.1%} {row['text']:>13.2%}"
        )
    return "\n".join([*lines, f"* block {chosen} is where `chain` keeps its keys"])


def _write(out: Path, rows: list[dict[str, Any]], found: list[Separation], title: str) -> None:
    from errata.durable import write_atomic
    from errata.statistics import plots

    out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / TABLE, (json.dumps(rows, indent=2) + "\n").encode())
    write_atomic(out / PICTURE, plots.distances(found, title))
