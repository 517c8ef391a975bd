"""`errata keys`: who may change a served sheet. Makes, lists and removes API keys; loads no model."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from errata.cli import _common as common
from errata.serve.keys import SCOPES, Key, Keys, Scope


@click.group()
def command() -> None:
    """Make, list and remove the API keys of a served sheet.

    A key is shown once, when it is made; the sheet's keys.json holds its hash alone. A running server notices at once.
    """


@command.command()
@click.argument("name", required=False)
@click.option(
    "--scope", type=click.Choice(SCOPES), default="edit", show_default=True,
    help="What it allows: ask; edit, undo and redo too; admin: also to replace the server's gate.",
)  # fmt: skip
@common.sheet_option
@common.dry_run_option
@common.json_option
def add(name: str | None, scope: Scope, sheet: Path, dry_run: bool, as_json: bool) -> None:
    """Make a key and print it. NAME is who the journal says made a change."""
    common.existing(sheet)
    keys = Keys(sheet)
    chosen = name or _free(scope, keys.all())
    keys.check(chosen)
    text = None if dry_run else keys.add(chosen, scope)
    if as_json:
        common.print_json([{"name": chosen, "scope": scope, "key": text, "dry_run": dry_run}])
    elif text is None:
        click.echo(f"would make a key '{chosen}' of scope {scope}; nothing was written")
    else:
        click.echo(text)
        click.echo(f"key '{chosen}' of scope {scope}: keep it, it is not shown again", err=True)


@command.command("list")
@common.sheet_option
@common.json_option
def list_(sheet: Path, as_json: bool) -> None:
    """List the keys of a sheet, without the keys themselves."""
    common.existing(sheet)
    keys = Keys(sheet).all()
    rows: list[dict[str, Any]] = [{"name": key.name, "scope": key.scope, "created": key.created} for key in keys]
    if as_json:
        common.print_json(rows)
        return
    for row in rows:
        click.echo(f"{row['name']:<20} {row['scope']:<6} {row['created']}")
    if not rows:
        click.echo("no keys yet: changes over HTTP are switched off")


@command.command()
@click.argument("name")
@common.sheet_option
@common.dry_run_option
@common.json_option
def remove(name: str, sheet: Path, dry_run: bool, as_json: bool) -> None:
    """Remove a key; it is refused from now on."""
    common.existing(sheet)
    keys = Keys(sheet)
    key = keys.find_name(name) if dry_run else keys.remove(name)
    if as_json:
        common.print_json([{"name": key.name, "scope": key.scope, "dry_run": dry_run}])
    else:
        click.echo(f"key '{key.name}' {'would be removed; nothing was written' if dry_run else 'removed'}")


def _free(scope: str, keys: Sequence[Key]) -> str:
    taken = {key.name for key in keys}
    return next(name for number in itertools.count(1) if (name := f"{scope}-{number}") not in taken)
