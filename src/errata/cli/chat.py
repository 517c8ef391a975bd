"""`errata chat`: a conversation with a model in the terminal, in which wrong answers are corrected as they come."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from errata.cli import _common as common
from errata.cli import _prompts

LONGEST = 256
COMMANDS = """  /fix NEW ANSWER    the last question's answer becomes this one
  /fix OLD => NEW    the last answer, with these words replaced (-> does the same)
  /why               which edits had a part in the last answer
  /edits             the edits in force
  /undo [ID]         take an edit out; the last one by default
  /redo [ID]         bring an edit back; the one undone last by default
  /system [TEXT]     set the system message, or clear it
  /new               start a new conversation
  /save DIR          keep the edits in a sheet there, if they are in memory
  /help, /quit"""
ALONE = """A correction is made for the last message alone, without the system message and the earlier turns, so that it
is not tied to this conversation. Whether the answer here follows it is shown at once."""


@click.command(
    help=f"""Talk with MODEL, and correct what it says.

A line is a message to the model. MODEL may be left out if --sheet names a sheet that is there. A line that begins with
a slash is a command:

\b
{COMMANDS}

{ALONE}"""
)
@click.argument("model", required=False)
@click.option(
    "--sheet", type=click.Path(path_type=Path), envvar="ERRATA_SHEET", metavar="DIR",
    help="Directory that keeps the corrections; it is started if it is not there. Without one they are kept in memory.",
)
@_prompts.system_option
@click.option("--method", help="How to edit; see `errata methods`. By default as `errata edit` does.")
@click.option(
    "--max-new-tokens", type=click.IntRange(min=1), default=LONGEST, show_default=True, help="Longest answer."
)
def command(
    model: str | None, sheet: Path | None, system: str | None, method: str | None, max_new_tokens: int
) -> None:
    common.quiet()
    from errata.cli._talk import Talk
    from errata.editor import Editor
    from errata.editor.choosing import check_name
    from errata.errors import BadModel

    if method is not None:
        check_name(method, {})  # a wrong name should not cost loading a model
    if model is None and (sheet is None or not common.is_sheet(sheet)):
        raise click.UsageError("name a model, as in: errata chat smollm2; or with --sheet a sheet that is there")
    name = common.model_name(model) if model else None
    if sys.stderr.isatty():
        click.echo(f"loading {name or 'the model of ' + str(sheet)} ...", err=True)
    with Editor(str(name)) if sheet is None else Editor.open(sheet, model=name) as editor:
        if editor.editable.chat is None:
            raise BadModel(
                f"{editor.editable.name} has no chat template; use `errata ask`, or a model that was made for chat "
                "(smollm2)"
            )
        talk = Talk(editor, kept=sheet, system=system, method=method, max_new_tokens=max_new_tokens)
        talk.run()
