"""`errata locate`: where in a model a fact is kept, by causal tracing, or a correction would act, by salience."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from errata.cli import _common as common
from errata.errors import unknown_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from errata.edits import Edit
    from errata.locate.effects import Effects
    from errata.locate.salience import Salience
    from errata.locate.study import Study
    from errata.models import EditableModel

TRACING, SALIENCE = "causal-tracing", "salience"
PICTURES = ("effects.png", "curves.png")
BARS = ("salience.json", "salience.png")


@click.command()
@click.argument("file", required=False, metavar="[FILE]")
@common.required_model_option
@click.option("--dataset", metavar="NAME", help="A data set instead of a file; see `errata datasets`.")
@click.option("--by", default=TRACING, show_default=True, help=f"{TRACING}, or {SALIENCE}.")
@click.option("--format", default="auto", show_default=True, help="Format of the file.")
@common.map_option
@click.option(
    "--n", type=click.IntRange(min=1), default=100, show_default=True, help="Facts to trace, or edits to take."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the choice of facts and of the noise.")
@click.option("--samples", type=click.IntRange(min=1), default=10, show_default=True, help="Corrupted runs of a fact.")
@click.option(
    "--noise", type=float, default=3.0, show_default=True, help="Its size, in deviations of the subjects' embeddings."
)
@click.option(
    "--window",
    type=click.IntRange(min=1),
    show_default="10 of 48",
    help="Blocks whose MLP or attention is restored together.",
)
@click.option(
    "--norm", type=click.Choice(["l1", "rms"]), default="l1", show_default=True, help="How salience measures."
)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Where files go.")
@common.dry_run_option
@common.json_option
def command(
    file: str | None,
    model: str,
    dataset: str | None,
    by: str,
    format: str,
    mapping: dict[str, str],
    n: int,
    seed: int,
    samples: int,
    noise: float,
    window: int | None,
    norm: Literal["l1", "rms"],
    out: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Find where in MODEL facts are kept (causal tracing), or where corrections would act (salience).

    FILE holds facts or edits, one JSON object a line; without it and without --dataset, facts that such a model should
    know. Tracing takes the facts that have a subject and that the model answers rightly. With --out the figures go to
    JSON and pictures to PNG, and an interrupted run goes on when it is run again.
    """
    if by not in (TRACING, SALIENCE):
        raise unknown_name("way to locate", by, (TRACING, SALIENCE))
    if file and dataset:
        raise click.UsageError("give a FILE or --dataset, not both")
    common.quiet()
    from errata.models import EditableModel

    editable = EditableModel.load(model)
    source, edits = _edits(editable, file or dataset, format, mapping)
    if by == TRACING:
        from errata.locate.traces import Settings

        settings = Settings(samples=samples, noise=noise, window=window or 0, seed=seed)
        _trace(editable, source, edits, n, settings, out, dry_run, as_json)
    else:
        chosen = random.Random(seed).sample(edits, min(n, len(edits)))
        _measure(editable, source, chosen, seed, norm, out, dry_run, as_json)


def _edits(model: EditableModel, name: str | None, format: str, mapping: Mapping[str, str]) -> tuple[str, list[Edit]]:
    from errata import datasets
    from errata.locate.facts import as_edits, default_facts, states_facts

    if name is None:
        return default_facts(model)
    dataset = datasets.open(name, format, mapping)
    rows = dataset.rows()
    return name, as_edits(rows, name) if states_facts(rows) else dataset.edits()


def _trace(
    model: EditableModel, source: str, edits: list[Edit], n: int, settings: Any, out: Path | None, dry: bool,
    as_json: bool,
) -> None:  # fmt: skip
    from errata.locate.facts import facts_of
    from errata.locate.study import study
    from errata.locate.tracing import check_task

    check_task(model)
    facts = facts_of(edits, source)
    if dry:
        _would(f"trace up to {min(n, len(facts))} facts of {source}", out, ("traces.jsonl", "effects.json", *PICTURES))
        return
    record = out / "traces.jsonl" if out else None
    found = study(model, facts, n=n, settings=settings, record=record, progress=sys.stderr.isatty())
    effects = found.effects()
    if out:
        from errata.locate import plots

        _write(out, "effects.json", _json(found.to_json()))
        for name, draw in zip(PICTURES, (plots.heat_maps, plots.curves), strict=True):
            _write(out, name, draw(found))
    if as_json:
        common.print_json(effects.rows())
    else:
        click.echo(_told(found, effects))
        _say_where(out)


def _told(study: Study, effects: Effects) -> str:
    """The study in a few lines, and the average indirect effects as one table a kind."""
    lines = [
        f"{len(study.traces)} facts traced in {study.seconds:.1f} s ({study.unknown} left out: the model's answer is "
        f"another); {study.settings.samples} corruptions each, noise {study.sigma:.3f}, seed {study.settings.seed}",
        f"probability of the answer: {effects.clean.mean[0]:.1%} clean, {effects.corrupted.mean[0]:.1%} corrupted; "
        f"total effect {_band(effects.total, 0)}",
    ]
    for kind, curves in effects.indirect.items():
        blocks = len(next(iter(curves.values())).mean)
        what = kind if kind == "state" else f"{kind}, {study.window} block{'s' * (study.window > 1)} restored together"
        lines += ["", f"average indirect effect by block: {what}"]
        lines.append(f"{'':<28}" + "".join(f"{block:>7}" for block in range(blocks)))
        for label, curve in curves.items():
            cells = "".join(f"{mean:>7.1%}" for mean in curve.mean)
            best, _ = effects.peak(kind, label)
            lines.append(f"{label:<23}{f'({curve.n})':>5}{cells}   largest at {best}: {_band(curve, best)}")
    return "\n".join(lines)


def _band(curve: Any, at: int) -> str:
    return f"{curve.mean[at]:.1%} [{curve.low[at]:.1%}, {curve.high[at]:.1%}]"


def _measure(
    model: EditableModel, source: str, edits: list[Edit], seed: int, norm: Literal["l1", "rms"], out: Path | None,
    dry: bool, as_json: bool,
) -> None:  # fmt: skip
    from errata.locate.salience import salience, samples_of

    if dry:
        _would(f"take gradients on {len(edits)} edits of {source}", out, ("samples.jsonl", *BARS))
        return
    record = out / "samples.jsonl" if out else None
    samples = samples_of(model, edits)
    found = salience(model, samples, norm=norm, record=record, progress=sys.stderr.isatty())
    if out:
        from errata.locate import plots

        _write(out, BARS[0], _json({"model": model.name, "seed": seed, **found.counts(), "matrices": found.rows()}))
        _write(out, BARS[1], plots.bars(found, seed))
    if as_json:
        common.print_json(found.rows())
    else:
        click.echo(_ranking(found))
        _say_where(out)


def _ranking(found: Salience) -> str:
    counts = ", ".join(f"{count} {group}" for group, count in found.counts().items())
    lines = [f"salience ({found.norm}) on {len(found.samples)} samples: {counts}"]
    rows = sorted(found.rows(), key=lambda row: -row["score"])
    for row in rows:
        score = f"{row['score']:.3e} ± {row['standard_error']:.1e}"
        lines.append(f"block {row['block']:>3}  {row['role']:<9} {score}")
    return "\n".join(lines)


def _json(value: Any) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=2) + "\n").encode()


def _write(out: Path, name: str, data: bytes) -> None:
    from errata.durable import write_atomic

    write_atomic(out / name, data)


def _say_where(out: Path | None) -> None:
    if out:
        click.echo(f"written to {out}")


def _would(what: str, out: Path | None, names: tuple[str, ...]) -> None:
    files = f", and write {', '.join(names)} to {out}" if out else ""
    click.echo(f"would {what}{files}; nothing was done")
