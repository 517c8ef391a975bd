"""`errata models`: the models that have a name, and how to get those that are not installed. Loads none of them."""

from __future__ import annotations

from typing import Any

import click

from errata.cli import _common as common

LICENCE = "Apache-2.0"  # of the lab's models, as of all of Errata


@click.command()
@common.json_option
def command(as_json: bool) -> None:
    """List the lab's models and the real ones that have a name.

    A directory, a .gguf file or a hub id is taken as well wherever a model is.
    """
    rows = [*_lab(), *_named()]
    if as_json:
        common.print_json(rows)
        return
    for row in rows:
        about = f"{row['description']} ({row['licence']}, {row['size'] / 1e6:,.0f} MB)"
        click.echo(f"{row['name']:<14} {row['task']:<14} {row['parameters']:>12,}  {about}")
        if not row["installed"]:
            click.echo(f"{'':<43}not installed: {row['install']}")


def _lab() -> list[dict[str, Any]]:
    from errata.lab.models import models

    rows = []
    for model in models():
        weights = model.path / "model.safetensors"
        row = {
            "name": model.name,
            "path": model.path,
            "hub": None,
            "task": model.task,
            "parameters": model.parameters,
            "description": model.description,
            "licence": LICENCE,
            "size": weights.stat().st_size if weights.is_file() else 0,
            "installed": weights.is_file(),
            "install": f"errata lab train {model.name.removeprefix('lab:')} OUT",
        }
        rows.append(row)
    return rows


def _named() -> list[dict[str, Any]]:
    from errata.named_models import MODELS

    columns = ("hub", "task", "parameters", "description", "licence", "size", "installed", "install")
    return [
        {"name": model.name, "path": None, **{column: getattr(model, column) for column in columns}} for model in MODELS
    ]
