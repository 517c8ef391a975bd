"""`errata lab`: train the models in the box again from their recipes, and ask what a model knows of the lab's facts."""

from __future__ import annotations

from pathlib import Path

import click

from errata.cli import _common as common
from errata.lab import recipes


@click.group("lab", no_args_is_help=False)
def command() -> None:
    """Train the models in the box again, and check what they know."""


@command.command()
@click.argument("name", type=click.Choice(recipes.names()))
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@common.dry_run_option
def train(name: str, out: Path, dry_run: bool) -> None:
    """Train a model in OUT and write it to OUT/model; interrupted, the same command goes on where it was."""
    if dry_run:
        click.echo(f"lab:{name} would be trained in {out} and written to {out / 'model'}; nothing was written")
        return
    common.quiet()
    out.mkdir(parents=True, exist_ok=True)
    training = recipes.training(name, out)
    training.run()
    training.export(out / "model")
    click.echo(f"lab:{name} written to {out / 'model'}")


@command.command()
@click.argument("model", default="lab:gpt")
@common.json_option
def check(model: str, as_json: bool) -> None:
    """Ask MODEL about every fact of lab-facts in every phrasing; an answer counts when it is the target and then ends.

    A causal model is given sentences to complete, an encoder-decoder questions, a classifier claims to judge.
    """
    common.quiet()
    from errata.lab.knowledge import examine
    from errata.models import EditableModel

    found = examine(EditableModel.load(model))
    if as_json:
        common.print_json(found.table())
    else:
        click.echo(found.markdown())
