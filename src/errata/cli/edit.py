"""`errata edit`: corrections from files, data sets or flags, into a sheet. Run again, it goes on."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from errata.cli import _common as common
from errata.cli import _prompts
from errata.errors import did_you_mean

if TYPE_CHECKING:
    from errata.editor import Editor, EditResult, Receipt
    from errata.edits import Edit

SHOWN = 20
ALL_FAILED = 2


@click.command(context_settings=common.METHODS_OWN)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[FILE...]")
@common.model_option
@common.sheet_option
@click.option("--method", default=common.DEFAULT_METHOD, show_default=True, help="How to edit; see `errata methods`.")
@click.option("--prompt", help="One edit: what is asked.")
@click.option("--target", help="One edit: the right answer.")
@click.option(
    "--replace", "pairs", multiple=True, metavar="OLD=NEW",
    help="One edit: words of the model's own answer, and what they should be, instead of --target.",
)
@_prompts.system_option
@_prompts.raw_option
@click.option("--subject", help="One edit: what the prompt is about, as written in it.")
@click.option("--examples", multiple=True, metavar="FILE", help="Canonical examples: simple texts to be likelier.")
@click.option("--goal", help="What the examples are for: raise, lower, balance or contrast; see below.")
@click.option("--format", default="auto", show_default=True, help="Format of the files; see below.")
@common.map_option
@click.option("--n", type=click.IntRange(min=1), help="Take only the first N edits.")
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=32,
    show_default=True,
    help="Edits solved, and recorded, together.",
)
@common.dry_run_option
@common.json_option
@click.pass_context
def command(
    context: click.Context,
    words: tuple[str, ...],
    model: str | None,
    sheet: Path,
    method: str,
    prompt: str | None,
    target: str | None,
    pairs: tuple[str, ...],
    system: str | None,
    raw: bool,
    subject: str | None,
    examples: tuple[str, ...],
    goal: str | None,
    format: str,
    mapping: dict[str, str],
    n: int | None,
    batch_size: int,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Correct a model and record it in a sheet.

    A chat model reads --prompt as the user's message. --replace Paris=Lyon, once or several times, makes its own
    answer the target, with these words replaced.

    FILE is a file of edits, or a data set (`errata datasets`). Every option of the method is a flag too:
    --radius 3.0 (`errata methods grace` lists them). Edits that are in force already are skipped, so that an
    interrupted command goes on when it is run again.

    \b
    A FILE holds JSON Lines, a JSON array, or a table (.csv, .tsv). --format auto tells them apart by their fields:
      errata      prompt and target, one object per edit
      table       the columns prompt, target and, if you like, was (the old answer), system, subject, id and
                  rephrases (separated by " | "); --map prompt=question reads a column of another name
      chat        messages, of which the last is the assistant's good answer
      preference  prompt, chosen and rejected, or OpenAI's input, preferred_output and non_preferred_output
      feedback    input, output and correction; without a correction nothing is changed
    and counterfact, easyedit, zsre, wikibio and canonical are published ones.

    \b
    The FILE of --examples holds a prompt, how the text goes on (target) and perhaps a rival. With --goal
      raise     the target becomes likelier after the prompt (without a rival)
      lower     it becomes less likely
      balance   target and rival become equally likely
      contrast  the target becomes likelier than the rival (with a rival)
    and with --ball 1e-4 the model's loss on general text rises by less than that share.
    """
    files, options = split(words)
    if options:
        check_options(context.command, method, options)
    edits = _from_files(files, format, mapping) if files else []
    edits += _examples(examples, format, mapping, goal)
    single = (prompt, target, subject, *pairs, system, raw or None)
    if edits and any(single):
        raise click.UsageError("give files or --prompt and --target, not both")
    edits = (edits or [_single(prompt, target, subject, pairs, system, raw)])[:n]
    with editor_for(sheet, model, method, options, dry_run) as editor:
        todo, skipped = remaining(edits, editor)
        if skipped:
            click.echo(f"{skipped} already in the sheet, skipped", err=as_json)
        todo = resolved(todo, editor)
        how: dict[str, Any] = {**options, "batch_size": batch_size, "dry_run": dry_run}
        how["progress"] = sys.stderr.isatty()  # a log file should hold lines, not bars
        receipt = editor.edit(todo, method, **how) if todo else None
    replaced = [edit.ground_truth if edit.replace else None for edit in todo]
    if as_json:
        common.print_json(_rows(receipt, replaced) if receipt else [])
    else:
        report(receipt, sheet, replaced)
    if receipt and not receipt.done:
        context.exit(ALL_FAILED)


def split(words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """What click left over: files, and pairs `--name value` or `--name=value`."""
    files: list[str] = []
    options: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        if not word.startswith("-"):
            files.append(word)
            continue
        flag, equals, value = word.partition("=")
        if not flag.startswith("--"):
            raise click.UsageError(f"no option '{flag}'")
        value = value if equals else next(rest, "--")
        if value.startswith("--"):
            raise click.UsageError(f"option '{flag}' needs a value")
        options[flag[2:].replace("-", "_")] = value
    return files, options


def check_options(command: click.Command, method: str, options: Mapping[str, str]) -> None:
    """Refuse a name that neither the command nor the method's Config has."""
    common.quiet()
    from errata.editor.choosing import option_names

    names = option_names(method)
    own = [flag for option in command.params for flag in option.opts if flag.startswith("--")]
    for name in options:
        if name not in names:
            flag = "--" + name.replace("_", "-")
            known = own + ["--" + name.replace("_", "-") for name in names]
            hint = did_you_mean(flag, known)
            raise click.UsageError(
                f"no option '{flag}'.{hint} `errata methods {method}` lists the method's own"
            )


def _single(
    prompt: str | None, target: str | None, subject: str | None, pairs: Sequence[str], system: str | None, raw: bool
) -> Edit:
    from errata.edits import Edit

    if prompt is None and target is None and subject is None and not pairs:
        raise click.UsageError("nothing to edit; give a FILE, a data set, or --prompt and --target")
    if target is not None and pairs:
        raise click.UsageError("give --target or --replace, not both")
    if prompt is None or (target is None and not pairs):
        missing = "--prompt" if prompt is None else "--target"
        raise click.UsageError(f"{missing} is missing; one edit needs both --prompt and --target (or --replace)")
    replace = tuple(_pair(pair) for pair in pairs)
    return Edit(_prompts.spoken(prompt, system, raw), target or "", subject, replace=replace)


def _pair(text: str) -> tuple[str, str]:
    """`Paris=Lyon` as the words to replace and the new ones."""
    old, equals, new = text.partition("=")
    if not equals or not old.strip() or not new.strip():
        raise click.UsageError(f"--replace is '{text}'; write OLD=NEW, as in --replace Paris=Lyon")
    return old.strip(), new.strip()


def _from_files(files: Sequence[str], format: str, mapping: Mapping[str, str]) -> list[Edit]:
    from errata import datasets

    return [edit for file in files for edit in datasets.open(file, format, mapping).edits()]


def _examples(files: Sequence[str], format: str, mapping: Mapping[str, str], goal: str | None) -> list[Edit]:
    """What the files hold as canonical examples, with this goal or the one that each record has or suggests."""
    if goal and not files:
        raise click.UsageError("--goal is what --examples are for; give them")
    from errata.edits import PAIRED

    found = [(edit, goal or edit.goal or "raise") for edit in _from_files(files, format, mapping)]
    return [
        dataclasses.replace(edit, goal=own, rival=edit.rival if own in PAIRED else None)  # type: ignore[arg-type]
        for edit, own in found
    ]


def editor_for(sheet: Path, model: str | None, method: str, options: Mapping[str, Any], dry_run: bool) -> Editor:
    """The editor of a sheet that is there or is to be started; of the model alone for a dry run without a sheet."""
    common.quiet()
    from errata.editor import Editor
    from errata.editor.choosing import check_name

    check_name(method, options)  # a wrong name should not cost loading a model, nor leave an empty sheet
    name = common.model_name(model) if model else None
    if dry_run and name and not common.is_sheet(sheet):
        return Editor(name)
    return Editor.open(sheet, model=name)


def remaining(edits: Sequence[Edit], editor: Editor) -> tuple[list[Edit], int]:
    """The edits that are not in force yet, and how many are, compared as the editor reads their prompts.

    An edit that replaces words of the answer is in force if an edit of the same prompt replaced the same words. One
    that was tried before under its own id is tried again under a new one.
    """
    state = editor.state
    active = {(edit.topic, *asked) for edit in state.active() for asked in _asked(edit.prompt, edit.edit)}
    tried = {(id, *asked) for id, edit in state.edits.items() for asked in _asked(edit.prompt, edit.edit)}
    todo = []
    for edit in edits:
        read = editor.read_edit(edit)
        asked = (read.prompt, read.target or read.replace)
        if (read.topic, *asked) not in active:
            todo.append(dataclasses.replace(edit, id=None) if (edit.id, *asked) in tried else edit)
    return todo, len(edits) - len(todo)


def _asked(prompt: str, recorded: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """What a recorded edit asks for: its target, and also the words that it replaces."""
    pairs = tuple(recorded.get("replace", {}).items())
    return [(prompt, recorded["target"]), *([(prompt, pairs)] if pairs else [])]


def resolved(edits: Sequence[Edit], editor: Editor) -> list[Edit]:
    """The edits as the editor reads them, with the target of those that replace words; raises as `Editor.edit`."""
    from errata.editor.replacing import resolve_replacements

    return resolve_replacements(editor.editable, [editor.read_edit(edit) for edit in edits])


def _rows(receipt: Receipt, replaced: Sequence[str | None]) -> list[dict[str, Any]]:
    """A receipt for --json; `replaced` are the old answers of edits that replaced words."""
    rows = receipt.to_json()
    for row, result, was in zip(rows, receipt.results, replaced, strict=True):
        row |= common.prompt_row(result.prompt) | ({} if was is None else {"was": was})
    return rows


def report(receipt: Receipt | None, sheet: Path, replaced: Sequence[str | None] = ()) -> None:
    """Print what became of the edits; None: there were none to make."""
    if receipt is None:
        click.echo("nothing to do")
        return
    old = dict(zip(receipt.ids, replaced, strict=False))
    for result in receipt.results[:SHOWN]:
        click.echo(_line(result, old.get(result.id)))
    if len(receipt.results) > SHOWN:
        hint = "" if receipt.dry_run else f" (errata log --sheet {sheet})"
        click.echo(f"... and {len(receipt.results) - SHOWN} more{hint}")
    done, total = len(receipt.done), len(receipt.results)
    verb = "would be done; nothing was written" if receipt.dry_run else f"done and recorded in {sheet}"
    click.echo(f"{done} of {total} edits {verb} ({receipt.how or receipt.method}; {receipt.seconds:.1f} s)")


def _line(result: EditResult, was: str | None) -> str:
    text = f"{result.id}  {result.status}  {common.told(result.prompt, result.target, result.goal, result.rival)}"
    if result.goal and result.status == "done":
        text += f"  (loss {result.figures['loss_before']:.2f}, now {result.figures['loss']:.2f})"
    if was is not None:
        text += f" (was: {' '.join(was.split())})"
    if result.superseded:
        text += f"  (replaces {', '.join(result.superseded)})"
    return f"{text}  ({result.reason})" if result.reason else text
