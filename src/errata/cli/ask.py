"""`errata ask`: what a model answers, with a sheet's edits in force or without any."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from errata.cli import _common as common


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="[MODEL] PROMPT...")
@common.sheet_option
@click.option(
    "--max-new-tokens", type=click.IntRange(min=1), default=24, show_default=True, help="Longest answer."
)
@click.option("--explain", is_flag=True, help="Say which edits had a part in each answer.")
@common.json_option
def command(words: tuple[str, ...], sheet: Path, max_new_tokens: int, explain: bool, as_json: bool) -> None:
    """Answer prompts, or those on standard input (-), one a line.

    With a sheet its edits are in force and MODEL may be left out. A sheet that was not named with
    --sheet is used only if it is there and of MODEL.
    """
    model, prompts, kept = understood(words, sheet)
    if explain:
        rows = _explained(model, prompts, kept, max_new_tokens, as_json)
    else:
        answers = _answers(model, prompts, kept, max_new_tokens)
        rows = [{"prompt": prompt, "answer": answer} for prompt, answer in zip(prompts, answers, strict=True)]
        if not as_json:
            click.echo("\n".join(answers))
    if as_json:
        common.print_json(rows)


def understood(words: Sequence[str], sheet: Path) -> tuple[str | None, list[str], Path | None]:
    """The model (None: the sheet's), the prompts, and the sheet (None: no edits)."""
    explicit = common.given("sheet")
    kept = sheet if explicit or common.is_sheet(sheet) else None
    base = None
    if kept is not None:
        with common.open_sheet(kept) as opened:
            base = str(opened.base["name"])
    first = common.model_name(words[0])
    named = kept is None or first == base or common.names_model(words[0])
    if named and first != base and not explicit:
        kept = None
    prompts = _prompts(words[1:] if named else words)
    if not prompts:
        raise click.UsageError(
            "give a model and a prompt: errata ask MODEL PROMPT (MODEL is lab:gpt, smollm2, a directory, a .gguf file "
            "or a hub id); MODEL may be left out only with --sheet"
        )
    return first if named else None, prompts, kept


def _prompts(words: Sequence[str]) -> list[str]:
    if list(words) == ["-"]:
        return [line for line in sys.stdin.read().splitlines() if line.strip()]
    return list(words)


def _answers(model: str | None, prompts: list[str], sheet: Path | None, tokens: int) -> list[str]:
    if sheet is not None:
        with common.open_editor(sheet, model) as editor:
            return editor.generate(prompts, max_new_tokens=tokens)
    common.quiet()
    from errata.models import EditableModel

    return EditableModel.load(str(model)).generate(prompts, max_new_tokens=tokens)


def _explained(
    model: str | None, prompts: list[str], sheet: Path | None, tokens: int, as_json: bool
) -> list[dict[str, object]]:
    common.quiet()
    from errata.editor import Editor

    with common.open_editor(sheet, model) if sheet is not None else Editor(str(model)) as editor:
        explanations = [editor.explain(prompt, max_new_tokens=tokens) for prompt in prompts]
    if not as_json:
        click.echo("\n".join(str(explanation) for explanation in explanations))
    return [dataclasses.asdict(explanation) for explanation in explanations]
