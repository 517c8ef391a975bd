"""`errata diff`: every edit in force, with the model's answer before and now."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from errata.cli import _common as common
from errata.cli import _prompts


@click.command()
@common.sheet_option
@common.model_option
@common.json_option
def command(sheet: Path, model: str | None, as_json: bool) -> None:
    """The answers to every edited prompt, without any edit and now."""
    with common.open_editor(sheet, model) as editor:
        prompts = [edit.prompt for edit in editor.state.active()]
        found = editor.diff(max_new_tokens=_prompts.longest(prompts, None))
    if as_json:
        rows = [{**dataclasses.asdict(item), **common.prompt_row(item.prompt)} for item in found]
        common.print_json([{**row, "holds": item.holds} for row, item in zip(rows, found, strict=True)])
        return
    for item in found:
        now = "holds" if item.holds else f"MISSED, now {item.after!r}"
        click.echo(f"{item.id}  {now}  {common.told(item.prompt, item.target)}  (before: {item.before!r})")
    click.echo(f"{sum(item.holds for item in found)} of {len(found)} edits hold")
