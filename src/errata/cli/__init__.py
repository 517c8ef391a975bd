"""The command line: finds the verb that was typed, and turns every failure into one line and an exit code.

Knows the names of the verbs; each is a module here that is imported when it is needed. It imports no torch.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from errata.errors import ErrataError, did_you_mean

VERBS = (
    "demo", "chat", "ask", "edit", "ensemble", "log", "show", "status", "undo", "redo", "diff", "eval", "export",
    "serve", "keys",
    "bench", "report", "locate", "senses", "calibrate", "prepare", "train",
    "methods", "models", "datasets", "lab",
)  # fmt: skip
INTERNAL = 70  # a failure nobody foresaw, as BSD's sysexits call it
INTERRUPTED = 130


class Verbs(click.Group):
    """A group whose commands are modules of this package, imported on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        return importlib.import_module(f"errata.cli.{cmd_name}").command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if not args[0].startswith("-") and args[0] not in VERBS:
            raise click.UsageError(f"no command '{args[0]}'.{did_you_mean(args[0], VERBS)}", ctx)
        return super().resolve_command(ctx, args)


def _version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        click.echo(f"errata {version('errata')}")
    except PackageNotFoundError:  # run from a source tree
        click.echo("errata (source)")
    context.exit()


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version."
)
def cli() -> None:
    """Correct a trained language model: small, reversible, recorded patches."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; `arguments` are those of the process by default."""
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        result = cli.main(args=words, prog_name="errata", standalone_mode=False)
    except click.Abort:
        return _fail("interrupted; finished edits are kept, run the same command again to go on", INTERRUPTED)
    except click.ClickException as error:
        asked = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "errata"
        return _fail(f"{error.format_message()}{_meant(words, error)} (see `{asked} --help`)", error.exit_code)
    except ErrataError as error:
        return _explained(error, str(error), error.exit_code)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _explained(error, f"{where}{error.strerror or error}", ErrataError.exit_code)
    except Exception as error:
        text = f"unexpected {type(error).__name__}: {error}; set ERRATA_DEBUG=1 to see where"
        return _explained(error, text, INTERNAL)
    return result if isinstance(result, int) else 0


def _meant(words: Sequence[str], error: click.ClickException) -> str:
    """What to do with a word too many that is a sheet."""
    from errata.cli._common import is_sheet

    extra = "unexpected extra argument" in error.format_message()
    sheet = next((word for word in words if is_sheet(Path(word))), None) if extra else None
    return f"; name the sheet with --sheet {sheet}" if sheet else ""


def _explained(error: Exception, text: str, code: int) -> int:
    if os.environ.get("ERRATA_DEBUG") == "1":
        raise error
    return _fail(text, code)


def _fail(text: str, code: int) -> int:
    click.echo(f"errata: {' '.join(text.split())}", err=True)
    return code
