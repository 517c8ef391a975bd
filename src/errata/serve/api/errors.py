"""Every failure as OpenAI's clients expect it: {"error": {"message", "type", "param", "code"}} and a status.

Knows the family of errors and HTTP; nothing of routes.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from errata.errors import BadConfig, BadEdit, BadModel, BadPatch, BadSheet, ErrataError, UnknownName, WrongModel
from errata.serve.desk.desk import Failure, Gated, NoSpace, WorkerDied
from errata.serve.engine.request import Busy, Cancelled, Fault, Stopped, TimedOut
from errata.serve.full import disk_full
from errata.serve.service import Unready

log = logging.getLogger(__name__)

TYPES = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    405: "invalid_request_error", 409: "conflict_error", 413: "invalid_request_error", 429: "rate_limit_error",
}  # fmt: skip
RETRY_AFTER = 1  # seconds

# By class, the most particular first: everything else of the family is a request that cannot be met as it is.
STATUSES: tuple[tuple[type[ErrataError], int], ...] = (
    (Busy, 429), (Gated, 409), (TimedOut, 504), (Cancelled, 503), (Stopped, 503), (Unready, 503), (WorkerDied, 503),
    (NoSpace, 507), (BadSheet, 503), (Fault, 500), (Failure, 500), (BadModel, 500), (WrongModel, 500), (BadPatch, 500),
    (BadEdit, 400), (BadConfig, 400), (UnknownName, 400), (ErrataError, 409),
)  # fmt: skip


class ErrorBody(BaseModel):
    """What went wrong, and what to do."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None
    gate: list[dict[str, Any]] | None = Field(None, description="of an edit that its gate refused: every condition")
    probes: list[dict[str, Any]] | None = Field(None, description="of such an edit: the questions whose answer moved")


class ErrorReply(BaseModel):
    """Every answer that is not a success."""

    error: ErrorBody


class ApiError(Exception):
    """A failure with its status. `more` joins the error's body."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        message, param = _writable(message), param and _writable(param)
        super().__init__(message)
        self.status, self.headers = status, dict(headers or {})
        if status in (429, 503):
            self.headers.setdefault("Retry-After", str(RETRY_AFTER))
        kind = TYPES.get(status, "server_error")
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code, **(more or {})}}

    def response(self) -> JSONResponse:
        return JSONResponse(self.body, self.status, self.headers)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """These statuses, and those any request can meet, for a route's documentation."""
    always = (400, 401, 403, 405, 413, 429, 500, 503)
    return {
        status: {"model": ErrorReply, "description": HTTPStatus(status).phrase}
        for status in sorted({*always, *statuses})
    }


def explained(error: Exception) -> ApiError:
    """Any exception as an answer. What nobody foresaw is logged and not told."""
    match error:
        case ApiError():
            return error
        case Gated():
            return ApiError(409, str(error), code="gate", more=error.detail)
        case ErrataError():
            if disk_full(error):
                error = NoSpace(str(error))
            status = next(status for kind, status in STATUSES if isinstance(error, kind))
            if status in (500, 507):
                log.error("a request failed", extra={"reason": str(error)})
            return ApiError(status, str(error), code=_code(error), param=getattr(error, "param", None))
        case RequestValidationError():
            return _invalid(error.errors())
        case HTTPException():
            return ApiError(error.status_code, _told(error), headers=error.headers)
    log.error("a request failed", exc_info=error)
    return ApiError(500, "the server failed on this request; its log says why, under the request's id")


def install(app: FastAPI) -> None:
    """Make the app answer every failure so."""

    async def answer(_: Request, error: Exception) -> JSONResponse:
        return explained(error).response()

    for kind in (ApiError, ErrataError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, answer)


def _writable(text: str) -> str:
    """With a mark for half a surrogate pair, which a client may send and no answer can hold."""
    return text.encode(errors="replace").decode()


def _code(error: ErrataError) -> str | None:
    codes = {
        "Busy": "busy", "TooLong": "context_length_exceeded", "TimedOut": "timeout", "WorkerDied": "worker_died",
        "NoSpace": "disk_full",
    }  # fmt: skip
    return codes.get(type(error).__name__)


def _told(error: HTTPException) -> str:
    advice = {
        404: "there is nothing at this address; /docs lists what there is",
        405: "this address does not take this method; /docs says which it takes",
        413: "the request is larger than this server takes; send less at once",
    }
    return advice.get(error.status_code, str(error.detail))


def _invalid(errors: Sequence[Mapping[str, Any]]) -> ApiError:
    """The first thing that is wrong with a request, in one line."""
    first = errors[0]
    if first["type"] == "json_invalid":
        return ApiError(400, f"the body is no valid JSON ({first.get('ctx', {}).get('error', 'cannot be read')})")
    param = _param(first)
    forms = [error for error in errors if _param(error) == param]  # one for each form that the field may have
    told = next((str(error["msg"]) for error in forms if not error["type"].endswith("_type")), None)
    if told is None:
        told = str(first["msg"]) if len(forms) == 1 else "this is none of the forms it may have; see /docs"
    where = f"'{param}'" if param else "the body"
    return ApiError(400, f"{where}: {' '.join(told.split())}", param=param or None)


def _param(error: Mapping[str, Any]) -> str:
    """The field, as far as its place goes through lists; what follows names forms of a field, not fields."""
    place = [part for part in error["loc"] if part not in ("body", "query", "path")]
    kept = place[:1]
    for before, part in itertools.pairwise(place):
        if not isinstance(part, int) and not isinstance(before, int):
            break
        kept.append(part)
    return ".".join(map(str, kept))
