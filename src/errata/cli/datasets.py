"""`errata datasets`: the data sets that Errata carries or knows where to find."""

from __future__ import annotations

from typing import Any

import click

from errata.cli import _common as common


@click.command()
@common.json_option
def command(as_json: bool) -> None:
    """List the data sets; `errata edit` takes their names as files."""
    from errata import datasets

    found = [datasets.get(name) for name in datasets.names()]
    keys = ("name", "path", "records", "licence", "description", "source")
    rows: list[dict[str, Any]] = [{key: getattr(dataset, key) for key in keys} for dataset in found]
    if as_json:
        common.print_json(rows)
        return
    for row in rows:
        here = "" if row["path"] else " (not in the package)"
        click.echo(f"{row['name']:<18} {row['records']:>7,}  {row['licence']:<12} {row['description']}{here}")
