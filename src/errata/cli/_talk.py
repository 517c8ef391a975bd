"""The conversation of `errata chat`: reads lines, answers them, and does what the commands among them say.

Knows the Editor and the terminal. A failure that Errata explains is one line, and the conversation goes on.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from errata.cli import _common as common
from errata.cli.chat import ALONE, COMMANDS, LONGEST
from errata.editor import Editor
from errata.editor.answers import Undone
from errata.editor.replacing import replace_spans
from errata.edits import Edit
from errata.errors import BadEdit, BadSheet, ErrataError, UnknownName, did_you_mean
from errata.prompts import Conversation, Message, user_message

ARROW = re.compile(r"\s(?:=>|->)\s")  # between the old words and the new ones


class Talk:
    """One conversation with an editor's model.

    Attributes:
        editor: whose model answers and is corrected.
        kept: the sheet's directory; None while the edits are in memory.
        system: the system message.
        turns: the messages so far, of the user and the model in turn.
    """

    def __init__(
        self, editor: Editor, *, kept: Path | None, system: str | None = None, method: str | None = None,
        max_new_tokens: int = LONGEST,
    ) -> None:  # fmt: skip
        self.editor, self.kept, self.system = editor, kept, system
        self.turns: list[Message] = []
        self._method: dict[str, Any] = {} if method is None else {"method": method}
        self._longest = max_new_tokens
        self._undone: list[str] = []
        self._commands: dict[str, Callable[[str], None]] = {
            "fix": self._fix, "why": self._why, "edits": self._edits, "undo": self._undo, "redo": self._redo,
            "system": self._set_system, "new": self._new, "save": self._save, "help": self._help,
        }  # fmt: skip

    def run(self) -> None:
        """Read and answer lines until /quit, the end of the input, or Ctrl-C at the prompt."""
        where = f"kept in {self.kept}" if self.kept else "kept in memory; /save DIR keeps them for later"
        click.echo(f"{self.editor.editable.name}: corrections are {where}. /help lists the commands.")
        try:
            while (line := _read_line()) is not None:
                if line.split() in (["/quit"], ["/exit"]):
                    break
                self.answer_line(line)
        finally:
            self._leave()

    def answer_line(self, line: str) -> None:
        """Do what one line says; an error is printed, and Ctrl-C stops what the line began."""
        try:
            if line.startswith("/"):
                self._command(line)
            elif line.strip():
                self._ask(line.strip())
        except ErrataError as error:
            click.echo(f"errata: {' '.join(str(error).split())}", err=True)
        except OSError as error:
            click.echo(f"errata: {error.filename or ''}: {error.strerror or error}", err=True)
        except KeyboardInterrupt:
            click.echo("\nstopped; the conversation is as it was before this line")

    def _command(self, line: str) -> None:
        name, _, rest = line[1:].strip().partition(" ")
        if name not in self._commands:
            hint = did_you_mean(f"/{name}", [f"/{known}" for known in (*self._commands, "quit")])
            raise UnknownName(f"no command '/{name}'.{hint} /help lists them")
        self._commands[name](rest.strip())

    # -- asking ------------------------------------------------------------------------------------------------------

    def _ask(self, text: str) -> None:
        asked = Message("user", text)
        answer = self._answer(self._conversation([*self.turns, asked]))
        self.turns += [asked, *_said(answer)]

    def _answer(self, prompt: Conversation) -> str:
        """The model's answer, printed as it is written where somebody looks on."""
        if not sys.stdout.isatty():
            answer = self.editor.generate(prompt, max_new_tokens=self._longest)
            click.echo(answer)
            return answer
        show = lambda piece: click.echo(piece, nl=False)  # noqa: E731
        answer = self.editor.editable.stream(prompt, show, max_new_tokens=self._longest)
        click.echo()
        return answer

    def _conversation(self, turns: list[Message]) -> Conversation:
        return Conversation([*([Message("system", self.system)] if self.system else []), *turns])

    def _last(self) -> tuple[list[Message], str]:
        """The messages up to the last question, and its answer. Raises: BadEdit, if nothing was asked."""
        places = [place for place, message in enumerate(self.turns) if message.role == "user"]
        if not places:
            raise BadEdit("there is no answer yet; ask something first")
        asked = self.turns[: places[-1] + 1]
        return asked, self.turns[-1].content if self.turns[-1].role == "assistant" else ""

    # -- correcting --------------------------------------------------------------------------------------------------

    def _fix(self, text: str) -> None:
        asked, answer = self._last()
        if not text:
            raise BadEdit("say what the answer should be: /fix NEW ANSWER, or /fix OLD => NEW")
        question = asked[-1].content
        receipt = self.editor.edit(_correction(question, answer, text), progress=sys.stderr.isatty(), **self._method)
        (result,) = receipt.results
        if result.status == "failed":
            click.echo(f"{result.id}  failed, nothing was changed: {result.reason}")
            return
        click.echo(f"{result.id}  {common.told(result.prompt, result.target)}  ({receipt.method})")
        self._ask_again(asked, result.target)

    def _ask_again(self, asked: list[Message], target: str | None = None) -> None:
        """Show the answer now to the last question, which takes the old one's place."""
        conversation = self._conversation(asked)
        answer = self._answer(conversation)
        self.turns = [*asked, *_said(answer)]
        if target is not None and answer != target.strip() and len(conversation.messages) > 1:
            click.echo(
                "(the edit holds for the message alone; after this system message or these earlier turns the model "
                "does not follow it; /new starts a new conversation)"
            )

    def _why(self, _: str) -> None:
        asked, _answer = self._last()
        click.echo(str(self.editor.explain(self._conversation(asked), max_new_tokens=self._longest)))

    def _edits(self, _: str) -> None:
        active = self.editor.state.active()
        for edit in active:
            click.echo(f"{edit.id}  {common.told(edit.prompt, edit.target)}")
        if not active:
            click.echo("no edit is in force")

    def _undo(self, id: str) -> None:
        active = self.editor.state.active()
        if not id and not active:
            raise UnknownName("no edit is in force; there is nothing to undo")
        outcome = self.editor.undo(id or active[-1].id)
        self._undone += outcome.changed
        self._report("undone", outcome)

    def _redo(self, id: str) -> None:
        if not id and not self._undone:
            raise UnknownName("nothing was undone in this conversation; name an edit: /redo e1")
        outcome = self.editor.redo(id or self._undone[-1])
        self._undone = [one for one in self._undone if one not in outcome.changed]
        self._report("redone", outcome)

    def _report(self, what: str, outcome: Undone) -> None:
        for id in outcome.changed:
            edit = self.editor.state.edits[id]
            click.echo(f"{id}  {what}  {common.told(edit.prompt, edit.target)}")
        for id, status in outcome.unchanged.items():
            click.echo(f"{id}  {status} already")
        for note in outcome.notes:
            click.echo(f"note: {note}")
        if outcome.changed and self.turns:
            self._ask_again(self._last()[0])

    # -- the conversation itself -------------------------------------------------------------------------------------

    def _set_system(self, text: str) -> None:
        self.system = text or None
        click.echo("system message set" if text else "system message cleared")

    def _new(self, _: str) -> None:
        self.turns = []
        click.echo("new conversation")

    def _save(self, path: str) -> None:
        if self.kept is not None:
            raise BadSheet(f"the edits are kept in {self.kept} already")
        if not path:
            raise BadSheet("name a directory: /save DIR")
        self.editor.save(path)
        model = self.editor.editable
        self.editor.close()
        self.editor, self.kept = Editor.open(path, model=model), Path(path)  # what comes later is kept there too
        click.echo(f"{len(self.editor.state.active())} edits in force are kept in {path}, and later ones will be")

    def _help(self, _: str) -> None:
        click.echo(f"A line is a message to the model. Commands:\n{COMMANDS}\n{ALONE}")

    def _leave(self) -> None:
        lost = len(self.editor.state.active()) if self.kept is None else 0
        if lost:
            click.echo(f"{lost} edits were in memory and are gone; /save DIR or --sheet DIR would have kept them")
        self.editor.close()


def _correction(question: str, answer: str, text: str) -> Edit:
    """The edit that /fix asks for, of the question alone: a new answer, or the last one with words replaced."""
    prompt = user_message(question)
    old, *new = ARROW.split(text, maxsplit=1)
    if not new:
        return Edit(prompt, text)
    return replace_spans(Edit(prompt, replace=((old.strip(), new[0].strip()),)), answer)


def _said(answer: str) -> list[Message]:
    """The model's turn; none where it said nothing."""
    return [Message("assistant", answer)] if answer.strip() else []


def _read_line() -> str | None:
    """The next line; None at the end of the input, or at Ctrl-C."""
    try:
        if not sys.stdin.isatty():
            line = sys.stdin.readline()
            return line.rstrip("\n") if line else None
        with suppress(ImportError):
            import readline  # noqa: F401  (gives input() a history)
        return input("> ")
    except (EOFError, KeyboardInterrupt):
        click.echo()
        return None
