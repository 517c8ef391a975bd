"""`errata demo`: a correction, start to end, on a model in the box."""

from __future__ import annotations

import click

from errata.cli import _common as common


@click.command()
def command() -> None:
    """Edit a small model in the box, see what changed, and undo it."""
    common.quiet()
    from errata.demo import run

    run()
