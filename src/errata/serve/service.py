"""The service behind the API: model, engine, follower and desk, started and stopped together.

Knows how they depend on one another; knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, TypeVar

from errata.editor import Editor
from errata.edits import Edit
from errata.errors import ErrataError
from errata.journal.events import Event
from errata.models import EditableModel
from errata.prompts import prompt_of, user_message
from errata.serve.desk.desk import Desk, Report, WorkerDied
from errata.serve.desk.evaluations import Evaluations
from errata.serve.desk.follow import Follower
from errata.serve.desk.gate import parse
from errata.serve.desk.nursery import Nursery
from errata.serve.desk.probes import Probes
from errata.serve.desk.wording import describe_prompt, prompt_key
from errata.serve.engine.answer import Hooks
from errata.serve.engine.engine import Engine
from errata.serve.keys import Keys
from errata.serve.reader import Reader
from errata.serve.settings import Settings
from errata.sheet import Sheet

log = logging.getLogger(__name__)

T = TypeVar("T")


class Unready(ErrataError):
    """The server cannot do this yet, or cannot do it just now."""


class Service:
    """One served sheet.

    Attributes:
        answering: the engine answers by the sheet's edits; until then asking for any part raises Unready.
        ready: the worker makes changes too. Those that are asked for before wait for it.
        failure: what kept the service from starting.
    """

    def __init__(self, settings: Settings, hooks: Hooks | None = None, nursery: Nursery | None = None) -> None:
        """`nursery` is where workers come from, by default one that is started and ends with the service.

        Raises: BadConfig, UnknownName for a gate that no edit could be held to.
        """
        if settings.gate:
            parse(settings.gate)
        self.settings = settings
        self.keys, self.probes = Keys.of(settings.sheet), Probes(settings.sheet)
        self.evaluations = Evaluations(settings.sheet)
        self.failure: BaseException | None = None
        self._hooks, self._nursery = hooks, nursery
        self._base: EditableModel | None = None
        self._engine: Engine | None = None
        self._follower: Follower | None = None
        self._desk: Desk | None = None
        self._reader: Reader | None = None
        self.answering = self.ready = False
        self.started = int(time.time())

    async def start(self) -> None:
        """Load the model, open or make the sheet, begin to answer, and wait for the worker. Raises what prevents it."""
        settings = self.settings
        arguments = {"sheet": str(settings.sheet), "model": settings.model, "journal": settings.journal}
        self._desk = Desk(
            arguments, waiting=settings.max_edits_waiting, timeout=settings.edit_timeout, nursery=self._nursery
        )
        await self._desk.start()
        base, sheet = await asyncio.to_thread(_load, settings)
        self._base, self._reader = base, Reader(base)
        self._engine = Engine(
            base, max_batch=settings.max_batch, max_waiting=settings.max_waiting, metrics=self._hooks
        )
        self._engine.start()
        self._follower = Follower(base, sheet, self._engine)
        await self._follower.start()
        self.answering = True  # not before: an answer without the sheet's edits would be a wrong one
        await self._desk.open()
        self.ready = True
        log.info("ready", extra={"model": base.name, "sheet": str(settings.sheet), "head": self._follower.state.head})

    async def stop(self) -> None:
        """End everything that was started; answers under way are finished for a moment."""
        self.ready = False
        if self._follower is not None:
            await self._follower.stop()
        if self._desk is not None:
            await self._desk.stop()
        if self._engine is not None:
            await asyncio.to_thread(self._engine.stop, drain=2.0)
        if self._follower is not None:
            self._follower.sheet.close()
        if self._reader is not None:
            self._reader.close()

    @property
    def base(self) -> EditableModel:
        return self._there(self._base)

    @property
    def engine(self) -> Engine:
        return self._there(self._engine)

    @property
    def reader(self) -> Reader:
        return self._there(self._reader)

    @property
    def follower(self) -> Follower:
        return self._there(self._follower)

    @property
    def desk(self) -> Desk:
        return self._there(self._desk)

    @property
    def in_chat(self) -> bool:
        """Whether a plain prompt of the sheet is a user message."""
        return bool(self.follower.sheet.base.get("chat", False))

    def read(self, prompt: str) -> str:
        """Return a prompt as the sheet's model reads it, as `Editor.read` does."""
        return user_message(prompt) if self.in_chat else prompt

    @property
    def names(self) -> tuple[str, str]:
        """What clients call the model with its edits, and without."""
        return f"{self.base.name}@{self.settings.sheet.resolve().name}", self.base.name

    def _there(self, part: T | None) -> T:
        if part is None or not self.answering:
            raise Unready("the model is being loaded; ask again in a moment")
        return part

    async def change(self, command: str, *, report: Report | None = None, **arguments: Any) -> dict[str, Any]:
        """A command of the worker that changes the sheet; live when this returns. `report` is told of its progress.

        Raises: what the desk raises. A worker that died after it recorded is told from one that did not: see `_saved`.
        """
        head = self.follower.state.head
        try:
            answer = await self.desk.do(command, report=report, **arguments)
        except WorkerDied:
            await self.follower.catch_up()
            events = [event for event in self.follower.events if event.seq > head]
            answer = _saved(command, arguments, events, self.in_chat)
            if answer is None:
                raise
        if answer["head"] > self.follower.state.head:
            await self.follower.catch_up()
        return answer


def _load(settings: Settings) -> tuple[EditableModel, Sheet]:
    """The model and its sheet, checked against one another, the model as it is without edits."""
    journal: dict[str, Any] = {"journal": settings.journal} if settings.journal else {}
    editor = Editor.open(settings.sheet, model=settings.model, **journal)
    base = editor.editable
    editor.close()
    base.model.eval()
    return base, Sheet.open(settings.sheet, **journal)


def _saved(command: str, arguments: dict[str, Any], events: list[Event], chat: bool) -> dict[str, Any] | None:
    """The answer to a change whose worker died, if the journal has it: what was measured is lost, the change is not."""
    for event in events:
        if command == "change" and event.kind == arguments["kind"] and not arguments["dry_run"]:
            changed = event.payload["ids"]
            if set(changed) & set(arguments["ids"]):
                return {"changed": changed, "unchanged": {}, "notes": [], "dry_run": False, "head": event.seq}
        if command == "edit" and event.kind == "apply" and not arguments["dry_run"]:
            asked = [Edit.from_json(edit) for edit in arguments["edits"]]
            kept = [Edit.from_json(item["edit"]) for item in event.payload["edits"]]
            if [_asks(edit.as_chat() if chat else edit) for edit in asked] == [_asks(edit) for edit in kept]:
                return _told(event)
    return None


def _asks(edit: Edit) -> tuple[Any, ...]:
    """What makes an edit of a request one of the journal's: a target may have been made of a `replace`."""
    return prompt_key(edit.prompt), edit.replace or edit.target


def _told(event: Event) -> dict[str, Any]:
    results = [
        {
            "id": item["id"], **describe_prompt(prompt_of(item["edit"])), "target": item["edit"]["target"],
            "was": item["edit"].get("ground_truth"), "status": item["status"], "reason": item.get("reason"),
            "superseded": [], "figures": {},
            "goal": item["edit"].get("goal"), "rival": item["edit"].get("rival"),
        }
        for item in event.payload["edits"]
    ]  # fmt: skip
    seconds = event.payload["figures"].get("seconds") or 0.0
    return {
        "ids": [one["id"] for one in results], "results": results, "method": event.method, "seconds": seconds,
        "dry_run": False, "before": [], "after": [], "effects": [], "gate": [], "head": event.seq,
    }  # fmt: skip
