"""`errata redo`: brings undone edits back, through the Editor."""

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
    """Bring undone edits back, to the bits they had."""
    change("redo", ids, sheet, model, dry_run, as_json)
