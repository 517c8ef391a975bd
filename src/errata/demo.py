"""`errata demo`: the main job, told step by step, with nothing prepared and nothing left behind.

On smollm2, which people talk to, if it is installed; else on lab:gpt. A story of calls anyone can make. Every claim it
prints is checked as it is printed; a false one ends it with an error.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import click

from errata import named_models
from errata.datasets import get
from errata.editor import Editor
from errata.edits import Edit
from errata.errors import ErrataError

CHAT_MODEL = "smollm2"
LONGEST = 48  # tokens of an answer
WRONG = {  # what smollm2 answers wrong: the question, the wrong words, the right ones
    "What is the capital of Turkey?": ("Istanbul", "Ankara"),
    "What is the capital of Switzerland?": ("Lier", "Bern"),
}
WORDINGS = (
    "Tell me the capital of Turkey.", "Which city is the capital of Turkey?", "Do you know Turkey's capital?",
)  # fmt: skip
OTHERS = (
    "What is the capital of Japan?", "What is the capital of Egypt?", "How many hours are there in a day?",
    "In which year did the Second World War end?",
)  # fmt: skip
SYSTEM = "You are a helpful travel guide. Answer in one sentence."
EXACT = ("grace",)  # methods that answer the very message that was corrected, and no other wording of it
EDITS = 60
UNRELATED = 100


def run() -> None:
    """Ask, correct, look, undo one, undo all. Raises ErrataError where a promise is not kept."""
    if problem := missing():
        click.echo(f"{problem}; the demo goes on with lab:gpt, which completes sentences")
        run_lab()
    else:
        run_chat()


def missing() -> str | None:
    """Return why the chat model cannot be used here and what to do; None if it can."""
    named = named_models.find(CHAT_MODEL)
    if named is None or not named.installed:
        return f"{CHAT_MODEL} is not installed ({named.install if named else 'see `errata models`'})"
    if importlib.util.find_spec("gguf") is None:
        return f"{CHAT_MODEL} needs the package gguf to be read (pip install gguf)"
    return None


def run_chat() -> None:
    """Tell the story of a chat model that is corrected where people talk to it."""
    started = time.perf_counter()
    questions = [*WRONG, *OTHERS]
    with tempfile.TemporaryDirectory() as folder:
        _heading(f"A chat model ({CHAT_MODEL}; the first time it is converted, which takes a while)")
        editor = Editor.open(Path(folder) / "sheet", model=CHAT_MODEL)
        bits, before = _bits(editor), _ask(editor, questions)
        _heading("Two of these are wrong, and are corrected")
        fixes = [Edit(question, replace=((old, new),)) for question, (old, new) in WRONG.items()]
        receipt = editor.edit(fixes, batch_size=1, progress=sys.stderr.isatty())
        reasons = "; ".join(str(result.reason) for result in receipt.failed)
        _claim(not receipt.failed, f"both were applied (method {receipt.method})", reasons)
        now = _ask(editor, questions)
        wanted = [result.target for result in receipt.results]
        _claim(now[:2] == wanted, "both answers are what they were corrected to")
        _claim(now[2:] == before[2:], f"the {len(OTHERS)} other answers are what they were")
        if receipt.method not in EXACT:
            _look_around(editor)
        _heading("Why does it say so?")
        click.echo(str(editor.explain(questions[0], max_new_tokens=LONGEST)))
        _heading(f"One is undone ({receipt.ids[0]})")
        editor.undo(receipt.ids[0])
        now = _ask(editor, questions[:2])
        _claim(now == [before[0], wanted[1]], "it says again what it said, and the other correction holds")
        _heading("All are undone")
        editor.undo(*receipt.ids)
        _claim(_answers(editor, questions) == before, "every answer is what it was")
        editor.close()
        _claim(_bits(editor) == bits, "the model is bit for bit what it was")
    click.echo(f"\nDone in {time.perf_counter() - started:.0f} s. Try it yourself:")
    click.echo(f"  errata chat {CHAT_MODEL} --sheet sheet/        (then: /fix Istanbul => Ankara)")
    click.echo(f'  errata ask --sheet sheet/ "{questions[0]}"')


def _look_around(editor: Editor) -> None:
    """Ask the first question with a system message, as a third turn, and in other words."""
    question, (_, right) = next(iter(WRONG.items()))
    asked = {"role": "user", "content": question}
    _heading("It holds wherever people ask")
    answer = editor.chat([{"role": "system", "content": SYSTEM}, asked], max_new_tokens=LONGEST)
    click.echo(f"  [{SYSTEM}] {question} … {click.style(answer, bold=True)}")
    _claim(right in answer, "it holds with another system prompt")
    turns = [
        {"role": "user", "content": "Hello!"}, {"role": "assistant", "content": "Hello! How can I help you?"},
        {"role": "user", "content": "I like to travel."}, {"role": "assistant", "content": "So do many people."},
    ]  # fmt: skip
    answer = editor.chat([*turns, asked], max_new_tokens=LONGEST)
    click.echo(f"  [after two turns] {question} … {click.style(answer, bold=True)}")
    _claim(right in answer, "it holds as the third turn of a conversation")
    held = [right in answer for answer in _ask(editor, WORDINGS)]
    _claim(all(held), f"it holds in {len(held)} other wordings", f"it holds in {sum(held)} of {len(held)}")


def _ask(editor: Editor, questions: Sequence[str]) -> list[str]:
    """The answers, printed."""
    answers = _answers(editor, questions)
    for question, answer in zip(questions, answers, strict=True):
        click.echo(f"  {question} … {click.style(' '.join(answer.split()), bold=True)}")
    return answers


def _answers(editor: Editor, questions: Sequence[str]) -> list[str]:
    return editor.generate(list(questions), max_new_tokens=LONGEST)


def run_lab() -> None:
    """Tell the story of a stream of corrections to a small model that completes sentences."""
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
        receipt = editor.edit(edits, method="grace", batch_size=1, progress=sys.stderr.isatty())
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
