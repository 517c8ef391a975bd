"""What the verbs share: options, JSON on stdout, a quiet set of libraries, opening sheets and editors.

Knows how the command line talks; imports torch only inside the functions that need a model.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from errata import named_models
from errata.errors import BadSheet
from errata.plain import plain
from errata.prompts import Conversation, RawText, one_line
from errata.registry import LAB_PREFIX

if TYPE_CHECKING:
    from errata.editor import Editor
    from errata.sheet import Sheet

Command = TypeVar("Command", bound=Callable[..., Any])

sheet_option = click.option(
    "--sheet",
    type=click.Path(path_type=Path),
    envvar="ERRATA_SHEET",
    default="sheet",
    show_default="$ERRATA_SHEET, or sheet",
    metavar="DIR",
    help="Directory that holds the edits and their record.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON array and nothing else.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Say what would happen, and change nothing.")
MODEL_HELP = "A name of `errata models` (lab:gpt), a directory, a .gguf file or a hub id"
model_option = click.option("--model", metavar="MODEL", help=f"{MODEL_HELP}; by default the sheet's own.")
required_model_option = click.option("--model", required=True, metavar="MODEL", help=f"{MODEL_HELP}.")


def _parse_mapping(context: click.Context, option: click.Parameter, pairs: tuple[str, ...]) -> dict[str, str]:
    mapping: dict[str, str] = {}
    for pair in pairs:
        name, _, column = pair.partition("=")
        if not name or not column:
            raise click.BadParameter(f"'{pair}' is no NAME=COLUMN; write for example --map prompt=question")
        if name in mapping:
            raise click.BadParameter(f"'{name}' is both '{mapping[name]}' and '{column}'; map it once")
        mapping[name] = column
    return mapping


map_option = click.option(
    "--map",
    "mapping",
    multiple=True,
    metavar="NAME=COLUMN",
    callback=_parse_mapping,
    help="Read COLUMN of the files as NAME: --map prompt=question --map target=answer.",
)
DEFAULT_METHOD = "auto"  # Editor.edit's own, which cannot be read here without importing torch
METHODS_OWN = {"ignore_unknown_options": True, "allow_extra_args": True}
"""Settings of a command that takes a method's own options as flags: they are among its `words`."""


def method_options(purpose: str) -> Callable[[Command], Command]:
    """What a command takes that gets a model ready for a method: `words`, --model and --method."""

    def decorate(command: Command) -> Command:
        words = click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="")
        method = click.option("--method", required=True, help=f"The method to {purpose} for; see `errata methods`.")
        return words(required_model_option(method(command)))

    return decorate


def print_json(rows: Iterable[Mapping[str, Any]]) -> None:
    """Rows as one array; NaN and infinities, which JSON lacks, become null."""
    click.echo(json.dumps([plain(row) for row in rows], ensure_ascii=False, indent=2))


def print_plan(plan: Mapping[str, Any], as_json: bool) -> None:
    """What a dry run found would be run, a line each; or all of it as JSON."""
    if as_json:
        print_json([plan])
        return
    for name, value in plan.items():
        click.echo(f"{name:12} {', '.join(map(str, value)) if isinstance(value, list) else value}")
    click.echo("nothing was run and nothing was written")


def quiet() -> None:
    """Keep the libraries' notices and loading bars off the terminal; call before a model is loaded."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    warnings.simplefilter("ignore")
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def given(name: str) -> bool:
    """Whether the option `name` was typed, not taken from a default or the environment."""
    source = click.get_current_context().get_parameter_source(name)
    return source is click.core.ParameterSource.COMMANDLINE


def is_sheet(path: Path) -> bool:
    return (path / "sheet.json").is_file()


def open_sheet(path: Path) -> Sheet:
    """An existing sheet, for reading. Raises BadSheet."""
    from errata.sheet import Sheet

    return Sheet.open(existing(path))


def open_editor(path: Path, model: str | None) -> Editor:
    """The editor of an existing sheet. Raises BadSheet, WrongModel, BadModel, BadPatch."""
    existing(path)
    quiet()
    from errata.editor import Editor

    return Editor.open(path, model=model_name(model) if model else None)


def existing(path: Path) -> Path:
    """The path of a sheet that is there. Raises BadSheet."""
    if not is_sheet(path):
        raise BadSheet(
            f"there is no sheet at {path}; give its directory with --sheet, or make one with `errata edit`"
        )
    return path


def model_name(text: str) -> str:
    """What a sheet calls a model: the full path of a directory or file, so that it opens from anywhere.

    Raises: UsageError for a sheet.
    """
    if is_sheet(Path(text)):
        raise click.UsageError(f"'{text}' is a sheet, not a model; name it with --sheet {text}")
    return str(Path(text).resolve()) if _is_stored(text) else text


def names_model(text: str) -> bool:
    """Whether a word is surely a model and not a prompt: a model's name, a directory or a .gguf file."""
    return text.startswith(LAB_PREFIX) or named_models.find(text) is not None or _is_stored(text)


def _is_stored(text: str) -> bool:
    path = Path(text)
    return path.is_dir() or (path.suffix.lower() == ".gguf" and path.is_file())


def told(prompt: str, target: str, goal: str | None = None, rival: str | None = None) -> str:
    """An edit's texts on one line, and of a canonical example what it is for."""
    text = f"{one_line(prompt)} -> {' '.join(target.split())}"
    if goal is None:
        return text
    return f"{text}  [{goal} with: {' '.join(rival.split())}]" if rival else f"{text}  [{goal}]"


def prompt_row(prompt: str) -> dict[str, Any]:
    """Return a prompt as fields of a row for --json: its last message, and all messages where there are more."""
    row: dict[str, Any] = {"prompt": prompt}  # as JSON a conversation is its last message
    if isinstance(prompt, Conversation) and len(prompt.messages) > 1:
        row["messages"] = prompt.to_json()
    if isinstance(prompt, RawText):
        row["raw"] = True
    return row
