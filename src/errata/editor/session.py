"""The Editor: one model, the stack of patches attached to it, and its journal. The object most users touch.

Written once against `Method` and `Patch`: it never asks which method made a patch. What it returns is in `answers`,
what is attached in `stack`, what is recorded in `errata.sheet`.
"""

from __future__ import annotations

import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Literal, overload

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from errata.editor.answers import Accept, Difference, EditResult, Explanation, Receipt, Undone
from errata.editor.choosing import AUTO, check_name, describe_method, make_method
from errata.editor.explain import explain
from errata.editor.fitting import Settled, settle
from errata.editor.naming import named
from errata.editor.opening import base_of, editable, speaks
from errata.editor.replacing import resolve_replacements
from errata.editor.stack import Stack
from errata.editor.undoing import plan_change
from errata.editor.versions import library_versions
from errata.editor.without import without
from errata.edits import Edit
from errata.errors import BadConfig, BadSheet, WrongModel
from errata.journal.events import Event, Outcome, PatchFile, Recipe, Stamp
from errata.journal.history import State
from errata.methods._base import Method
from errata.models import EditableModel
from errata.patches.base import Patch
from errata.patches.export import export_lora, export_merged
from errata.patches.files import save_patch
from errata.progress import Event as Step
from errata.progress import progress_of
from errata.prompts import Conversation, Message, user_message
from errata.sheet import Sheet
from errata.solve.goals import Aims


class Editor:
    """A model that can be corrected.

    `Editor(model, tokenizer)` works in memory, `Editor.open("sheet/", model="lab:gpt")` on a durable sheet: an edit
    that has returned survives the process.
    """

    def __init__(
        self,
        model: PreTrainedModel | EditableModel | str,
        tokenizer: PreTrainedTokenizerBase | None = None,
        *,
        sheet: Sheet | None = None,
        who: str | None = None,
        chat: bool | None = None,
    ) -> None:
        """Take a Hugging Face model with its tokenizer, or the name or path of one.

        Args:
            chat: whether a plain prompt is a user message, rendered by the model's chat template. By default as the
                sheet has it; without one, if the model has a template. False asks for plain continuation.

        Raises:
            BadModel: it cannot be used, or holds NaN.
            WrongModel: the sheet is of another base model.
            BadConfig: chat is asked of a model without a template.
        """
        self.editable = editable(model, tokenizer)
        if chat is None and sheet is not None:
            chat = bool(sheet.base.get("chat", False))
        self.in_chat = speaks(self.editable, chat)
        base = base_of(self.editable, self.in_chat)
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        if sheet is None:
            self._scratch = tempfile.TemporaryDirectory(prefix="errata-")
            sheet = Sheet.create(Path(self._scratch.name) / "sheet", base)
        elif sheet.base["fingerprint"] != base["fingerprint"]:
            raise WrongModel(
                f"{sheet.path} is the sheet of {sheet.base['name']} ({sheet.base['fingerprint'][:12]}), and the model "
                f"given is {base['name']} ({base['fingerprint'][:12]}); open it with the model it was made for"
            )
        self.sheet, self.who = sheet, who
        self._stack = Stack(self.editable, sheet)
        self._state = sheet.state()
        self._stack.show(self._state)

    @classmethod
    def open(
        cls,
        path: str | Path,
        model: PreTrainedModel | EditableModel | str | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        *,
        journal: str | None = None,
        who: str | None = None,
        chat: bool | None = None,
    ) -> Editor:
        """Open the sheet at `path`, or start one there; `model` may be left out where the sheet exists.

        With `journal`, the URL of a PostgreSQL database (postgresql://user@host/database?sheet=name), the record and
        the patch files are kept there, and `path` is one of any number of replicas.
        Raises: BadSheet, WrongModel, BadModel, BadPatch (a patch file was changed or cut off).
        """
        if (Path(path) / "sheet.json").is_file():
            sheet = Sheet.open(path, journal)
            return cls(model or sheet.base["name"], tokenizer, sheet=sheet, who=who, chat=chat)
        if model is None:
            raise BadSheet(f"there is no sheet at {path}; name the model (--model) to start one")
        opened = editable(model, tokenizer)
        base = base_of(opened, speaks(opened, chat))
        return cls(opened, sheet=Sheet.create(path, base, journal), who=who)

    @property
    def model(self) -> PreTrainedModel:
        """The Hugging Face model itself, with the patches in force."""
        return self.editable.model

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        return self.editable.tokenizer

    @property
    def state(self) -> State:
        """Where every edit stands."""
        return self._state

    @property
    def patches(self) -> list[Patch]:
        """The patches in force, oldest first."""
        return list(self._stack.patches.values())

    # -- editing -------------------------------------------------------------------------------------------------

    def edit(
        self,
        edits: Edit | Sequence[Edit],
        method: str = AUTO,
        *,
        batch_size: int | None = None,
        dry_run: bool = False,
        progress: bool | Callable[[Step], object] = False,
        accept: Accept | None = None,
        **options: Any,
    ) -> Receipt:
        """Correct the model; on return the edits that worked are in force and recorded.

        Args:
            edits: what to correct. An edit of a prompt that was edited before supersedes the older one.
            method: a name from `errata methods`, or "auto" (see `editor.choosing`); `options` are fields of its Config
                (radius=3.0).
            batch_size: edits solved together; all of one call by default, 1 for a stream.
            dry_run: say what would happen, and leave model and sheet as they are.
            progress: show bars with rate and time left, or call this function with every report of progress.
            accept: called with the results of each batch while its patch is in force and nothing is recorded yet. What
                it raises reaches the caller, and the batch leaves nothing. Not called where every edit failed.

        An edit whose target is not reached is reported as failed in the receipt, and leaves nothing behind.
        Raises: UnknownName, BadConfig, BadEdit before anything is applied; edits before an interrupt stay.
        """
        check_name(method, options)
        self.refresh()
        asked = [self.read_edit(edit) for edit in ([edits] if isinstance(edits, Edit) else edits)]
        batch = named(resolve_replacements(self.editable, asked), self._state)
        maker = make_method(method, options, self.editable, batch)
        maker.check(batch)
        Aims.of(self.editable, batch)  # what cannot be read is refused before anything is applied
        size = len(batch) if batch_size is None else batch_size
        if size < 1:
            raise BadConfig(f"batch size {size} is too small; use 1 or more")
        started, results = time.perf_counter(), list[EditResult]()
        with self._showing(progress), self.editable.progress.bar(maker.name, len(batch), "edit") as bar:
            for start in range(0, len(batch), size):
                part = self._apply(maker, batch[start : start + size], dry_run, accept)
                results += part
                bar.update(len(part))
        seconds = time.perf_counter() - started
        return Receipt(maker.name, tuple(results), seconds, dry_run, describe_method(maker, self.editable))

    @contextmanager
    def _showing(self, progress: bool | Callable[[Step], object]) -> Iterator[None]:
        """Inside, long work on the model is shown as asked."""
        before = self.editable.progress
        if progress:
            self.editable.progress = progress_of(progress)
        try:
            yield
        finally:
            self.editable.progress = before

    def _apply(self, maker: Method, edits: list[Edit], dry_run: bool, accept: Accept | None) -> list[EditResult]:
        """Fit, check, write, record and attach one batch: the model and the sheet change together or not at all."""
        started = time.perf_counter()
        seq = self._state.head + 1
        settled = settle(self.editable, self._stack, maker, edits, seq)
        results = [self._result(edit, settled) for edit in edits]
        if accept is not None and settled.patch is not None:
            with self._stack.lowered(seq + 1, {settled.patch.slot or ("unit", seq): settled.patch}):
                accept(results)
        if not dry_run:
            self._commit(maker, edits, settled, time.perf_counter() - started)
        return results

    def _result(self, edit: Edit, settled: Settled) -> EditResult:
        id, figures = str(edit.id), settled.figures.get(str(edit.id), {})
        if reason := settled.problems.get(id):
            return EditResult(
                id, edit.prompt, edit.target, "failed", reason, figures=figures, goal=edit.goal, rival=edit.rival
            )
        older = self._state.superseding([edit.topic])
        return EditResult(
            id, edit.prompt, edit.target, "done", None, older, figures=figures, goal=edit.goal, rival=edit.rival
        )

    def _commit(self, maker: Method, edits: list[Edit], settled: Settled, seconds: float) -> None:
        seq = self._state.head + 1
        file = None
        if settled.patch is not None:
            part = settled.patch.increment(settled.previous)
            file = self._write(part, seq)
        outcomes = [Outcome(str(e.id), e.to_json(), settled.problems.get(str(e.id))) for e in edits]
        recipe = Recipe(maker.name, maker.config.to_json(), maker.config.seed)
        stamp = self._stamp({"seconds": seconds, "edits": dict(settled.figures)})
        self.sheet.record_apply(outcomes, recipe, expect_head=self._state.head, patch=file, stamp=stamp)
        state = self.sheet.state()
        if state.head > seq:  # others recorded since
            self._stack.show(state)
        elif settled.patch is not None:
            self._stack.put(settled.patch.slot or ("unit", seq), settled.patch)
        self._state = state

    def _write(self, patch: Patch, seq: int) -> PatchFile:
        name = f"{seq:06d}-{uuid.uuid4().hex[:8]}.safetensors"
        base = {"name": self.sheet.base["name"], "fingerprint": self.sheet.base["fingerprint"]}
        file = PatchFile(name, save_patch(self.sheet.patches / name, patch, base))
        self._stack.remember(file, patch)
        return file

    # -- undoing -------------------------------------------------------------------------------------------------

    def undo(self, *ids: str, dry_run: bool = False) -> Undone:
        """Take edits out; the model is then, bit for bit, what the remaining ones define.

        Edits of a batch that was solved jointly are taken out by solving the batch again without them. Undoing a failed
        edit, or one that is undone, does nothing. Raises: UnknownName.
        """
        return self._change("undo", ids, dry_run)

    def redo(self, *ids: str, dry_run: bool = False) -> Undone:
        """Bring undone edits back, to the bits they had. Raises: UnknownName."""
        return self._change("redo", ids, dry_run)

    def _change(self, kind: Literal["undo", "redo"], ids: Sequence[str], dry_run: bool) -> Undone:
        self.refresh()
        change = self._state.undoing(ids) if kind == "undo" else self._state.redoing(ids)
        if not change.ids:
            return Undone((), dict(change.unchanged))
        seq = self._state.head + 1
        write = None if dry_run else (lambda patch: self._write(patch, seq))
        plan = plan_change(self.editable, self._stack, self._state, change, write)
        if not dry_run:
            self.sheet.record_change(
                kind, change.ids, expect_head=self._state.head, replaced=plan.replaced, stamp=self._stamp()
            )
            self.refresh()
        return Undone(change.ids, dict(change.unchanged), plan.notes)

    # -- looking -------------------------------------------------------------------------------------------------

    @overload
    def generate(self, prompts: str, *, max_new_tokens: int = 24) -> str: ...
    @overload
    def generate(self, prompts: Sequence[str], *, max_new_tokens: int = 24) -> list[str]: ...
    def generate(self, prompts: str | Sequence[str], *, max_new_tokens: int = 24) -> str | list[str]:
        """What the model answers now, greedily: the continuation alone, or a classifier's label."""
        texts = [self.read(prompt) for prompt in ([prompts] if isinstance(prompts, str) else prompts)]
        answers = self.editable.generate(texts, max_new_tokens=max_new_tokens)
        return answers[0] if isinstance(prompts, str) else answers

    def chat(self, messages: Iterable[Message | Mapping[str, Any]], *, max_new_tokens: int = 256) -> str:
        """Answer a conversation in OpenAI's shape ({"role", "content"}), greedily.

        Raises: BadEdit for messages that are not valid, or a model without a chat template.
        """
        return self.editable.generate([Conversation(messages)], max_new_tokens=max_new_tokens)[0]

    def read(self, prompt: str) -> str:
        """Return a prompt as this editor's model reads it: a plain text is a user message in chat."""
        return user_message(prompt) if self.in_chat else prompt

    def read_edit(self, edit: Edit) -> Edit:
        """Return an edit as this editor's model reads its prompts."""
        return edit.as_chat() if self.in_chat and isinstance(edit, Edit) else edit

    def explain(self, prompt: str, *, max_new_tokens: int = 24) -> Explanation:
        """The answer with and without the edits, and which of them fired: where, how near, within which radius."""
        return explain(self.editable, self._stack, self._state, self.read(prompt), max_new_tokens)

    def diff(self, *, max_new_tokens: int = 24) -> list[Difference]:
        """Every active edit's prompt: the answer without any edit, and now."""
        active = self._state.active()
        if not active:
            return []
        prompts = [edit.prompt for edit in active]
        after = self.generate(prompts, max_new_tokens=max_new_tokens)
        with self._stack.lowered():
            before = self.generate(prompts, max_new_tokens=max_new_tokens)
        return [
            Difference(edit.id, edit.prompt, edit.target, old, new)
            for edit, old, new in zip(active, before, after, strict=True)
        ]

    def log(self) -> list[Event]:
        """Every event of the journal, oldest first."""
        return self.sheet.events()

    def without(self, id: str) -> AbstractContextManager[tuple[str, ...]]:
        """Inside, the model as if an edit had not been made, nor those solved together with it; gives their ids.

        Raises: UnknownName.
        """
        return without(self._stack, self._state, id)

    # -- keeping -------------------------------------------------------------------------------------------------

    def save(self, path: str | Path, journal: str | None = None) -> None:
        """Copy the sheet to `path`; a sheet that is opened from there gives the same answers.

        With `journal`, the URL of a PostgreSQL database, the copy's record is kept there.
        """
        self.sheet.copy_to(path, journal)

    def export(self, to: Literal["lora", "merged"], out: str | Path, *, dry_run: bool = False) -> None:
        """Write the edits in force as a PEFT adapter or as a plain checkpoint.

        Raises: CannotExport, saying what can be exported instead.
        """
        writers = {"lora": export_lora, "merged": export_merged}
        if to not in writers:
            raise BadConfig(f"cannot export to '{to}'; choose lora or merged")
        patches = self.patches
        if dry_run:  # written for real, elsewhere: what cannot be exported says so now
            with tempfile.TemporaryDirectory(prefix="errata-") as elsewhere:
                writers[to](self.editable, patches, Path(elsewhere) / "export")
        else:
            writers[to](self.editable, patches, Path(out))
            self.sheet.record_export(
                {"to": to, "path": str(out)}, expect_head=self._state.head, stamp=self._stamp()
            )
            self.refresh()

    def close(self) -> None:
        """Detach everything: the model is bit for bit what it was."""
        for patch in self._stack.patches.values():
            patch.detach(self.editable)
        self._stack.patches = {}
        self.sheet.close()
        if self._scratch is not None:
            self._scratch.cleanup()

    def __enter__(self) -> Editor:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def refresh(self) -> None:
        """Take in what was recorded, here or by another process."""
        state = self.sheet.state()
        if state.head != self._state.head:
            self._stack.show(state)
            self._state = state

    def _stamp(self, figures: Mapping[str, Any] | None = None) -> Stamp:
        return Stamp(who=self.who, versions=library_versions(), figures=figures)
