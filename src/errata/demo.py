"""`errata demo`: the main job on lab:gpt, told step by step, with nothing prepared and nothing left behind.

A story of calls anyone can make. Every claim it prints is checked as it is printed; a false one ends it with an error.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from pathlib import Path

import click

from errata.datasets import get
from errata.editor import Editor
from errata.edits import Edit
from errata.errors import ErrataError

EDITS = 60
UNRELATED = 100


def run() -> None:
    """Ask, correct a stream, look, undo one, undo all. Raises ErrataError where a promise is not kept."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        editor = Editor.open(Path(folder) / "sheet", model="lab:gpt")
        edits = get("counterfact-lab").edits()[:EDITS]
        unrelated = [row["prompt"] for row in get("lab-facts").rows() if row["split"] == "locality"][
            :UNRELATED
        ]
        bits, before = _bits(editor), editor.generate(unrelated)
        _heading("A small language model that knows real facts (lab:gpt)")
        for edit in edits[:4]:
            click.echo(f"  {edit.prompt} … {click.style(editor.generate(edit.prompt), bold=True)}")
        _heading(f"{EDITS} corrections arrive, one by one (method grace)")
        receipt = editor.edit(edits, method="grace", batch_size=1, progress=True)
        _claim(not receipt.failed, f"all {EDITS} were applied", f"{len(receipt.failed)} failed")
        _look(editor, edits, receipt.ids)
        _claim(editor.generate(unrelated) == before, f"{UNRELATED} unrelated answers are what they were")
        _heading("Why does it say so?")
        click.echo(str(editor.explain(edits[16].prompt)))
        _heading(f"One is undone in the middle of the stream ({receipt.ids[16]})")
        editor.undo(receipt.ids[16])
        answers = editor.generate([edit.prompt for edit in edits])
        held = [edit.target == answer for edit, answer in zip(edits, answers, strict=True)]
        click.echo(f"  {edits[16].prompt} … {click.style(answers[16], bold=True)}")
        _claim(not held[16] and sum(held) == EDITS - 1, f"the other {EDITS - 1} still hold")
        _heading("All are undone")
        editor.undo(*receipt.ids)
        editor.close()
        _claim(_bits(editor) == bits, "the model is bit for bit what it was")
    click.echo(f"\nDone in {time.perf_counter() - started:.0f} s. Try it yourself:")
    click.echo('  errata ask lab:gpt "The capital of France is"')
    click.echo(
        '  errata edit --model lab:gpt --sheet sheet/ --prompt "The capital of France is" --target Lyon'
    )


def _look(editor: Editor, edits: list[Edit], ids: list[str]) -> None:
    answers = editor.generate([edit.prompt for edit in edits])
    for id, edit, answer in list(zip(ids, edits, answers, strict=True))[:4]:
        click.echo(f"  {id}: {edit.prompt} … {click.style(answer, bold=True)}")
    right = sum(answer == edit.target for edit, answer in zip(edits, answers, strict=True))
    _claim(
        right == len(edits), f"every one of the {len(edits)} answers changed as asked", f"only {right} did"
    )


def _bits(editor: Editor) -> str:
    """A digest of every weight, and of whether any block carries a hook."""
    hooks = sum(len(module._forward_hooks) for module in editor.model.modules())
    return hashlib.sha256(f"{editor.editable.fingerprint()} {hooks}".encode()).hexdigest()


def _heading(text: str) -> None:
    click.echo(f"\n{click.style(text, bold=True)}")


def _claim(true: bool, text: str, otherwise: str = "") -> None:
    if not true:
        raise ErrataError(f"the demo expected that {text}, but it is not so. {otherwise}".strip())
    click.echo(f"  {click.style('✓', fg='green')} {text}")
