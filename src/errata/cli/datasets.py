"""`errata datasets`: the data sets that Errata carries or knows where to find."""

from __future__ import annotations

from typing import Any

import click

from errata.cli import _common as common


@click.command()
@common.json_option
def command(as_json: bool) -> None:
    """List the data sets; `errata edit` takes those that hold edits as files.

    NAME=PATH reads a data set from your own copy, and hf:owner/name[/config][#split] edits from the Hugging Face
    hub (with `pip install 'errata[hub]'`).
    """
    from errata import datasets

    found = [datasets.get(name) for name in datasets.names()]
    keys = ("name", "holds", "path", "records", "licence", "description", "source")
    rows: list[dict[str, Any]] = [{key: getattr(dataset, key) for key in keys} for dataset in found]
    if as_json:
        common.print_json(rows)
        return
    widths = {key: max(len(str(row[key])) for row in rows) for key in ("name", "holds", "licence")}
    for row in rows:
        mark = " " if row["path"] else "*"
        name, holds, licence = (str(row[key]).ljust(width) for key, width in widths.items())
        click.echo(f"{name}{mark} {row['records']:>7,}  {holds}  {licence}  {row['description']}")
    click.echo("* not in the package: get it from its source (see --json) and write NAME=PATH")
