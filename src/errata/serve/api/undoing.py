"""Edits taken back and brought back over HTTP: one, or many together. Live when the answer comes.

Knows the desk's command; what an undo has to solve again it does not know.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from errata.errors import UnknownName
from errata.serve.api.errors import ApiError, documented
from errata.serve.api.openai import Strict
from errata.serve.api.security import Caller, Writer, service_of
from errata.serve.service import Service

router = APIRouter(tags=["Errata"])

MOST = 1000  # edits of one request
Text = Annotated[str, Field(min_length=1)]


class ChangeAsked(Strict):
    """Edits to take back or bring back together."""

    ids: list[Text] = Field(min_length=1, max_length=MOST)
    dry_run: bool = Field(False, description="say what would change, and record nothing")


class Changed(BaseModel):
    """What an undo or redo did: which edits changed, the status of those that stay as they are, and what to know."""

    changed: list[str]
    unchanged: dict[str, str]
    notes: list[str]
    dry_run: bool
    head: int


@router.delete("/v1/edits/{id}", response_model=Changed, responses=documented(404, 409, 504, 507))
async def undo(request: Request, id: str, caller: Writer) -> Any:
    """Take an edit back. Live when this answers; the record stays, and the edit can be redone."""
    return await _change(service_of(request), "undo", ChangeAsked(ids=[id], dry_run=False), caller)


@router.post("/v1/edits/{id}/redo", response_model=Changed, responses=documented(404, 409, 504, 507))
async def redo(request: Request, id: str, caller: Writer) -> Any:
    """Bring an edit back that was undone. Live when this answers."""
    return await _change(service_of(request), "redo", ChangeAsked(ids=[id], dry_run=False), caller)


@router.post("/v1/undo", response_model=Changed, responses=documented(404, 409, 504, 507))
async def undo_many(request: Request, asked: ChangeAsked, caller: Writer) -> Any:
    """Take edits back together, as one event of the journal; with an unknown id among them, none."""
    return await _change(service_of(request), "undo", asked, caller)


@router.post("/v1/redo", response_model=Changed, responses=documented(404, 409, 504, 507))
async def redo_many(request: Request, asked: ChangeAsked, caller: Writer) -> Any:
    """Bring edits back together that were undone, as one event of the journal; with an unknown id among them, none."""
    return await _change(service_of(request), "redo", asked, caller)


async def _change(service: Service, kind: str, asked: ChangeAsked, caller: Caller) -> dict[str, Any]:
    try:
        return await service.change("change", kind=kind, ids=asked.ids, dry_run=asked.dry_run, who=caller.name)
    except UnknownName as error:
        raise ApiError(404, str(error), code="edit_not_found") from error
