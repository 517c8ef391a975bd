"""`errata export`: the edits in force as a LoRA adapter or a merged checkpoint, for any other tool."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from errata.cli import _common as common


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--to",
    type=click.Choice(["merged", "lora"]),
    required=True,
    help="A whole checkpoint, or a PEFT adapter.",
)
@common.sheet_option
@common.model_option
@common.dry_run_option
def command(out: Path, to: Literal["merged", "lora"], sheet: Path, model: str | None, dry_run: bool) -> None:
    """Write the edits in force to the directory OUT, so that other tools can load them."""
    with common.open_editor(sheet, model) as editor:
        count = len(editor.state.active())
        editor.export(to, out, dry_run=dry_run)
    verb = "would be written" if dry_run else "written"
    click.echo(f"{count} edits {verb} to {out} ({to})")
