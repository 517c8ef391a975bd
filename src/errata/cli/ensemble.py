"""`errata ensemble`: the edits of a small model's sheet become edits of a big model's, which hears them."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from errata.cli import _common as common
from errata.cli.edit import ALL_FAILED, editor_for, remaining, report
from errata.errors import BadSheet

if TYPE_CHECKING:
    from errata.edits import Edit

METHOD = "ensemble"


@click.command()
@click.option("--model", metavar="BIG", help="The model that is to hear the edits; by default the one of --out.")
@click.option("--from", "small", metavar="SMALL", help="The model that was edited; by default the one of --sheet.")
@common.sheet_option
@click.option(
    "--out", required=True, type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="BIG's own sheet."
)
@click.option("--beta", default="auto", show_default=True, help="How strongly: above 0, at most 1; auto: by the ball.")
@click.option("--ball", default="1e-4", show_default=True, help="For auto: how far the loss on general text may rise.")
@click.option("--corpus", metavar="SOURCE", help="General text: a file or a data set; by default prose in the package.")
@common.dry_run_option
@common.json_option
@click.pass_context
def command(
    context: click.Context,
    model: str | None,
    small: str | None,
    sheet: Path,
    out: Path,
    beta: str,
    ball: str,
    corpus: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Let a big model hear what the edits in force on a small model's sheet changed.

    To BIG's logits is added beta * (log p_edited - log p_original) of the small model, which must have the same
    vocabulary. The edits become one entry of BIG's sheet, as with `errata edit --method ensemble`.
    """
    edits = _in_force(sheet)
    if model:
        _check_task(common.model_name(model))
    options = {"sheet": str(sheet), "small": small or "", "beta": beta, "ball": ball, "corpus": corpus}
    with editor_for(out, model, METHOD, options, dry_run) as editor:
        todo, skipped = remaining(edits, editor)
        if skipped:
            click.echo(f"{skipped} already in the sheet, skipped", err=as_json)
        progress = sys.stderr.isatty()
        receipt = editor.edit(todo, METHOD, dry_run=dry_run, progress=progress, **options) if todo else None
    if as_json:
        common.print_json(receipt.to_json() if receipt else [])
    else:
        report(receipt, out)
        if receipt and receipt.done:
            click.echo(f"beta {receipt.done[0].figures['beta']:g}")
    if receipt and not receipt.done:
        context.exit(ALL_FAILED)


def _check_task(name: str) -> None:
    """Raises BadModel: the model does not write text. Its config tells, before a sheet is started for it."""
    common.quiet()
    from errata.models import EditableModel
    from errata.patches.small import causal

    causal(EditableModel.outline(name))


def _in_force(path: Path) -> list[Edit]:
    """The edits of the small model's sheet, to be numbered anew. Raises BadSheet: there are none."""
    from errata.edits import Edit

    with common.open_sheet(path) as sheet:
        active = sheet.state().active()
    if not active:
        raise BadSheet(f"the sheet at {path} has no edit in force; make some with `errata edit`, or redo one")
    return [dataclasses.replace(Edit.from_json(edit.edit), id=None) for edit in active]
