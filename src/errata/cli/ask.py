"""`errata ask`: what a model answers, with a sheet's edits in force or without any."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from errata.cli import _common as common
from errata.cli import _prompts
from errata.prompts import user_message


@click.command()
@click.argument("words", nargs=-1, metavar="[MODEL] PROMPT...")
@common.sheet_option
@_prompts.system_option
@_prompts.raw_option
@click.option("--messages", metavar="FILE", help="Conversations to answer, instead of prompts; - is standard input.")
@click.option(
    "--max-new-tokens", type=click.IntRange(min=1), show_default="128 in chat, else 24", help="Longest answer."
)
@click.option("--explain", is_flag=True, help="Say which edits had a part in each answer.")
@common.json_option
def command(
    words: tuple[str, ...],
    sheet: Path,
    system: str | None,
    raw: bool,
    messages: str | None,
    max_new_tokens: int | None,
    explain: bool,
    as_json: bool,
) -> None:
    """Answer prompts, or those on standard input (-), one a line.

    With a sheet its edits are in force and MODEL may be left out. A sheet that was not named with
    --sheet is used only if it is there and of MODEL.

    A model with a chat template reads a prompt as the user's message; --raw has it continued as plain text. The FILE
    of --messages holds one JSON list of {"role", "content"}, or a line of {"messages": [...]} for each conversation.
    """
    if messages and raw:
        raise click.UsageError("--messages need the chat template, which --raw leaves out; give one of them")
    model, prompts, kept = understood(words, sheet, messages)
    asked = [_prompts.spoken(prompt, system, raw) for prompt in prompts]
    if explain:
        rows = _explained(model, asked, kept, max_new_tokens, as_json)
    else:
        answers = _answers(model, asked, kept, max_new_tokens)
        rows = [{**common.prompt_row(p), "answer": answer} for p, answer in zip(asked, answers, strict=True)]
        if not as_json:
            click.echo("\n".join(answers))
    if as_json:
        common.print_json(rows)


def understood(
    words: Sequence[str], sheet: Path, messages: str | None = None
) -> tuple[str | None, Sequence[str], Path | None]:
    """The model (None: the sheet's), the prompts, and the sheet (None: no edits).

    Args:
        messages: a file of conversations, which are then the prompts.
    """
    explicit = common.given("sheet")
    kept = sheet if explicit or common.is_sheet(sheet) else None
    base = None
    if kept is not None:
        with common.open_sheet(kept) as opened:
            base = str(opened.base["name"])
    first = common.model_name(words[0]) if words else None
    named = bool(words) and (
        messages is not None or kept is None or first == base or common.names_model(words[0])
    )
    if named and first != base and not explicit:
        kept = None
    rest = words[1:] if named else words
    if messages is not None and rest:
        raise click.UsageError("give prompts or --messages, not both")
    prompts = _prompts.read_conversations(messages) if messages is not None else _typed(rest)
    if not prompts or (kept is None and not named):
        raise click.UsageError(
            "give a model and a prompt: errata ask MODEL PROMPT (MODEL is lab:gpt, smollm2, a directory, a .gguf file "
            "or a hub id); MODEL may be left out only with --sheet"
        )
    return first if named else None, prompts, kept


def _typed(words: Sequence[str]) -> list[str]:
    if list(words) == ["-"]:
        return [line for line in sys.stdin.read().splitlines() if line.strip()]
    return list(words)


def _answers(model: str | None, prompts: Sequence[str], sheet: Path | None, tokens: int | None) -> list[str]:
    if sheet is not None:
        with common.open_editor(sheet, model) as editor:
            read = [editor.read(prompt) for prompt in prompts]
            return editor.generate(read, max_new_tokens=_prompts.longest(read, tokens))
    common.quiet()
    from errata.models import EditableModel

    loaded = EditableModel.load(str(model))
    read = [user_message(prompt) if loaded.chat else prompt for prompt in prompts]
    return loaded.generate(read, max_new_tokens=_prompts.longest(read, tokens))


def _explained(
    model: str | None, prompts: Sequence[str], sheet: Path | None, tokens: int | None, as_json: bool
) -> list[dict[str, object]]:
    common.quiet()
    from errata.editor import Editor

    with common.open_editor(sheet, model) if sheet is not None else Editor(str(model)) as editor:
        longest = _prompts.longest([editor.read(prompt) for prompt in prompts], tokens)
        explanations = [editor.explain(prompt, max_new_tokens=longest) for prompt in prompts]
    if not as_json:
        click.echo("\n".join(str(explanation) for explanation in explanations))
    return [
        {**dataclasses.asdict(explanation), **common.prompt_row(prompt)}
        for prompt, explanation in zip(prompts, explanations, strict=True)
    ]
