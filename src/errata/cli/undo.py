"""`errata undo`: takes edits out of a sheet, through the Editor."""

from __future__ import annotations

from pathlib import Path

import click

from errata.cli import _common as common
from errata.cli._change import change


@click.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@common.sheet_option
@common.model_option
@common.dry_run_option
@common.json_option
def command(ids: tuple[str, ...], sheet: Path, model: str | None, dry_run: bool, as_json: bool) -> None:
    """Take edits out; the model is then, bit for bit, what the remaining ones define."""
    change("undo", ids, sheet, model, dry_run, as_json)
