"""`errata train`: train the editor that a method needs, once for a model. Run again, it goes on where it was."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from errata.cli import _common as common
from errata.cli.edit import check_options, split

if TYPE_CHECKING:
    from errata.edits import Edit
    from errata.learn.lessons import Lessons
    from errata.learn.trained import TrainedEditor
    from errata.methods._learned import LearnedMethod

_SHARES = ("success", "generalization", "drawdown")


@click.command(context_settings=common.METHODS_OWN)
@common.method_options("train")
@click.option("--dataset", required=True, metavar="SOURCE", help="A data set with training data, or a file of edits.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Where it goes."
)
@click.option("--validation", metavar="SOURCE", help="Edits to validate on; by default a tenth of the subjects.")
@common.dry_run_option
@common.json_option
@click.pass_context
def command(
    context: click.Context,
    words: tuple[str, ...],
    model: str,
    method: str,
    dataset: str,
    out: Path,
    validation: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Train an editor for MODEL, to be used with `errata edit --method METHOD --editor DIR`.

    SOURCE holds edits with rephrases and locality probes, about other subjects than those to be edited later. Every
    option of the method is a flag too. DIR gets the editor and the curve of its training; an interrupted command goes
    on when it is run again.
    """
    files, options = split(words)
    if files:
        raise click.UsageError(f"'{files[0]}' is not expected here; give the training data with --dataset")
    maker = _maker(context.command, method, options)
    edits, apart = _training(dataset), _training(validation) if validation else None
    taught = maker.lessons(edits, apart)
    if dry_run:
        _say([_planned(maker, taught, out)], as_json)
        return
    from errata.models import EditableModel

    editable = EditableModel.load(common.model_name(model))
    started = time.perf_counter()
    editor = maker.train(editable, edits, out, validation=apart, progress=sys.stderr.isatty())
    _say([_done(editor, out, time.perf_counter() - started)], as_json)


def _maker(command: click.Command, method: str, options: Mapping[str, str]) -> LearnedMethod:
    """The method with its options, if it is one that is trained."""
    common.quiet()
    from errata.methods._base import METHODS, create
    from errata.methods._learned import LearnedMethod

    if not issubclass(METHODS.get(method), LearnedMethod):
        raise click.UsageError(f"the method '{method}' needs no training; use it with `errata edit` as it is")
    check_options(command, method, options)
    maker = create(method, options)
    assert isinstance(maker, LearnedMethod)
    return maker


def _training(source: str) -> Sequence[Edit]:
    from errata import datasets

    return datasets.open(source).training()


def _planned(maker: LearnedMethod, taught: Lessons, out: Path) -> dict[str, Any]:
    return {
        "method": maker.name, "status": "planned", "out": str(out), "lessons": len(taught.training),
        "validated_on": len(taught.validation), "steps": maker.config.steps, "batch": maker.config.batch,
    }  # fmt: skip


def _done(editor: TrainedEditor, out: Path, seconds: float) -> dict[str, Any]:
    facts = editor.facts
    return {
        "method": editor.method, "status": "trained", "out": str(out), "lessons": facts["lessons"],
        "validated_on": facts["validated_on"], "steps": facts["steps"], "seconds": facts["seconds"],
        "this_run": seconds, "start": facts["start"], "best": facts["best"],
        "bytes": sum(one.numel() * one.element_size() for one in editor.tensors.values()),
    }  # fmt: skip


def _say(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        common.print_json(rows)
        return
    for row in rows:
        told = f"{row['lessons']} lessons, validated on {row['validated_on']}"
        if row["status"] == "planned":
            click.echo(f"{row['method']}: {told}; up to {row['steps']} steps of {row['batch']}; nothing was written")
            continue
        click.echo(f"{row['method']}: {told}; {row['steps']} steps in {row['seconds']:.0f} s")
        for when in ("start", "best"):
            figures = row[when]
            shares = ", ".join(f"{name} {figures[name]:.1%}" for name in _SHARES if name in figures)
            click.echo(f"  {when:<5} (step {figures['step']}): loss {figures['loss']:.3f}, {shares}")
        click.echo(f"editor in {row['out']} ({row['bytes'] / 2**20:.1f} MiB): errata edit --method {row['method']} "
                   f"--editor {row['out']} ...")  # fmt: skip
