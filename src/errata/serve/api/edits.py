"""Corrections over HTTP: /v1/edits, effects, /v1/journal. Live when the answer comes.

Knows the sheet's state and the desk's commands; fits and judges nothing itself.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from errata.edits import Edit, Goal
from errata.errors import BadEdit, ErrataError, UnknownName
from errata.journal.events import Event
from errata.journal.history import EditState
from errata.serve.api.edit_requests import EditsAsked
from errata.serve.api.errors import ApiError, documented
from errata.serve.api.progress import STREAMED, stream
from errata.serve.api.security import Asker, Caller, Writer, service_of
from errata.serve.desk.desk import Gated, Report
from errata.serve.desk.wording import describe_prompt
from errata.serve.service import Service

router = APIRouter(tags=["Errata"])

Limit = Annotated[int, Query(ge=1, le=1000, description="rows at most")]
EVENT_LIMIT = 100


class Result(BaseModel):
    """What became of one edit: `target` is what it makes the answer, `was` the answer before."""

    id: str
    prompt: str
    messages: list[dict[str, str]] | None
    target: str
    was: str | None
    status: Literal["done", "failed"]
    reason: str | None
    superseded: list[str]
    figures: dict[str, Any]
    goal: Goal | None
    rival: str | None


class Made(BaseModel):
    """What became of all of them: `before` and `after` are the answers to their prompts; `effects` is of a dry run."""

    ids: list[str]
    results: list[Result]
    method: str
    dry_run: bool
    head: int
    seconds: float
    before: list[str]
    after: list[str]
    gate: list[dict[str, Any]]
    effects: list[dict[str, Any]]


class EditRow(BaseModel):
    """Where one edit stands."""

    id: str
    prompt: str
    messages: list[dict[str, str]] | None
    target: str
    status: Literal["active", "undone", "superseded", "failed"]
    method: str | None
    seq: int
    time: str
    who: str
    reason: str | None
    superseded_by: str | None
    edit: dict[str, Any]


class EditPage(BaseModel):
    """Edits in the order that was asked for."""

    object: Literal["list"]
    data: list[EditRow]
    has_more: bool
    head: int


class Asked(BaseModel):
    """A question with its answers before and after."""

    prompt: str
    messages: list[dict[str, str]] | None = None
    before: str
    after: str
    moved: bool
    id: str | None = None
    kind: str | None = None
    expected: str | None = None


class Effects(BaseModel):
    """What one edit does. `together` are the edits that were solved with it and cannot be told apart."""

    id: str
    status: str
    together: list[str]
    prompt: str
    messages: list[dict[str, str]] | None
    target: str
    before: str
    after: str
    rephrases: list[Asked]
    portability: list[Asked]
    locality: list[Asked]
    neighbours: list[Asked]
    fired: list[dict[str, Any]]
    head: int


class EventRow(BaseModel):
    """One event of the journal."""

    seq: int
    time: str
    who: str
    kind: Literal["apply", "undo", "redo", "export"]
    method: str | None
    config: dict[str, Any]
    seed: int | None
    payload: dict[str, Any]
    versions: dict[str, str]


class EventPage(BaseModel):
    """Events, oldest first."""

    object: Literal["list"]
    data: list[EventRow]
    has_more: bool
    head: int


@router.post("/v1/edits", response_model=Made, responses=documented(409, 504, 507) | STREAMED)
async def make(request: Request, asked: EditsAsked, caller: Writer) -> Any:
    """Correct the model. When this answers, the edits that worked are on the disk, and the next request gets them."""
    for place, edit in enumerate(asked.edits):
        try:
            Edit.from_json(edit.to_json())
        except BadEdit as error:
            raise ApiError(400, str(error), param=f"edits.{place}") from None
    if asked.stream or "text/event-stream" in request.headers.get("accept", ""):
        told = stream(lambda report: _make(request, asked, caller, report), len(asked.edits), "edit")
        return StreamingResponse(told, media_type="text/event-stream")
    return await _make(request, asked, caller)


async def _make(request: Request, asked: EditsAsked, caller: Caller, report: Report | None = None) -> dict[str, Any]:
    service, started = service_of(request), time.perf_counter()
    metrics = request.app.state.metrics
    try:
        made = await service.change(
            "edit", edits=[edit.to_json() for edit in asked.edits], method=asked.method, options=asked.options,
            dry_run=asked.dry_run, gate=_gate(service, asked.gate, caller), who=caller.name, report=report,
        )  # fmt: skip
    except ErrataError as error:
        metrics.edits.labels("refused" if isinstance(error, Gated) else "error").inc(len(asked.edits))
        raise
    for result in made["results"]:
        metrics.edits.labels("tried" if asked.dry_run else result["status"]).inc()
    metrics.edit_seconds.observe(time.perf_counter() - started)
    return made | {"seconds": time.perf_counter() - started}


@router.get("/v1/edits", response_model=EditPage, responses=documented(404))
async def every(
    request: Request,
    _: Asker,
    status: Annotated[Literal["active", "undone", "superseded", "failed"] | None, Query()] = None,
    limit: Limit = 100,
    after: Annotated[str | None, Query(description="the id after which to go on")] = None,
    order: Annotated[Literal["asc", "desc"], Query(description="oldest first, or newest first")] = "asc",
) -> Any:
    """The edits of the sheet, in the order in which they were made or the other way round."""
    follower = service_of(request).follower
    edits = list(follower.state.edits.values())[:: -1 if order == "desc" else 1]
    if after is not None:
        found = next((place for place, edit in enumerate(edits) if edit.id == after), None)
        if found is None:
            raise ApiError(404, f"no edit '{after}' in this sheet", code="edit_not_found", param="after")
        edits = edits[found + 1 :]
    wanted = [edit for edit in edits if status in (None, edit.status)]
    rows = [_row(edit, follower.events) for edit in wanted[:limit]]
    return {"object": "list", "data": rows, "has_more": len(wanted) > limit, "head": follower.state.head}


@router.get("/v1/edits/{id}", response_model=EditRow, responses=documented(404))
async def one(request: Request, id: str, _: Asker) -> Any:
    """Where one edit stands."""
    follower = service_of(request).follower
    return _row(_found(service_of(request), id), follower.events)


@router.get("/v1/edits/{id}/effects", response_model=Effects, responses=documented(404, 504))
async def effects(request: Request, id: str, _: Asker) -> Any:
    """What an edit does: answers with it and without it, to its own questions and to those it should not touch."""
    service = service_of(request)
    _found(service, id)
    return await service.desk.do("effects", id=id)


@router.get("/v1/journal", response_model=EventPage, responses=documented())
async def journal(
    request: Request,
    _: Asker,
    after: Annotated[int, Query(ge=0, description="the event after which to begin")] = 0,
    limit: Limit = EVENT_LIMIT,
) -> Any:
    """Everything that was ever recorded, oldest first."""
    follower = service_of(request).follower
    rows = follower.events[after : after + limit]  # events are numbered without a gap, from 1
    more = len(follower.events) > after + limit
    return {"object": "list", "data": [asdict(event) for event in rows], "has_more": more, "head": follower.state.head}


def _found(service: Service, id: str) -> EditState:
    try:
        return service.follower.state.find(id)
    except UnknownName as error:
        raise ApiError(404, str(error), code="edit_not_found") from error


def _gate(service: Service, asked: str | None, caller: Caller) -> str | None:
    """The conditions in force: those asked for and the server's own, which an admin's replace."""
    own = service.settings.gate
    if asked is not None and own and caller.scope != "admin":
        return f"{own},{asked}"
    return asked if asked is not None else own


def _row(edit: EditState, events: list[Event]) -> Mapping[str, Any]:
    event = events[edit.seq - 1]
    return {
        "id": edit.id, **describe_prompt(edit.prompt), "target": edit.target, "status": edit.status,
        "method": edit.method, "seq": edit.seq, "time": event.time, "who": event.who, "reason": edit.reason,
        "superseded_by": edit.superseded_by, "edit": dict(edit.edit),
    }  # fmt: skip
