"""`errata lab`: train the models in the box again from their recipes, and ask what a model knows of the lab's facts."""

from __future__ import annotations

from pathlib import Path

import click

from errata.cli import _common as common


@click.group("lab", no_args_is_help=False)
def command() -> None:
    """Train the models in the box again, and check what they know."""


@command.command()
@click.argument("name", type=click.Choice(["gpt"]))
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
def train(name: str, out: Path) -> None:
    """Train a model in OUT and write it to OUT/model; interrupted, the same command goes on where it was."""
    common.quiet()
    from errata.lab.recipes.gpt import Recipe, Training

    out.mkdir(parents=True, exist_ok=True)
    training = Training(Recipe(), out)
    training.run()
    training.export(out / "model")
    click.echo(f"lab:{name} written to {out / 'model'}")


@command.command()
@click.argument("model", default="lab:gpt")
@common.json_option
def check(model: str, as_json: bool) -> None:
    """Ask MODEL every phrasing of every fact of lab-facts; an answer counts when it is the target and then ends."""
    common.quiet()
    from errata.datasets import get
    from errata.lab.knowledge import measure
    from errata.models import EditableModel

    found = measure(EditableModel.load(model), get("lab-facts").rows())
    if as_json:
        common.print_json(found.table())
    else:
        click.echo(found.markdown())
