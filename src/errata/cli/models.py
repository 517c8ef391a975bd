"""`errata models`: the models that Errata carries. Loads none of them."""

from __future__ import annotations

import dataclasses

import click

from errata.cli import _common as common


@click.command()
@common.json_option
def command(as_json: bool) -> None:
    """List the models in the box; every verb takes a directory or a hub id as well."""
    from errata.lab.models import models

    rows = [dataclasses.asdict(model) for model in models()]
    if as_json:
        common.print_json(rows)
        return
    for row in rows:
        click.echo(f"{row['name']:<14} {row['task']:<14} {row['parameters']:>12,}  {row['description']}")
