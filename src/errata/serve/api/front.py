"""What every request goes through before any route: its id, its limits, the log line and the headers of its answer.

Plain ASGI, so that streams stay streams and a client that left is seen. Knows HTTP; nothing of what routes do.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from errata.serve.api.errors import ApiError, explained
from errata.serve.api.limits import Limiter
from errata.serve.api.metrics import Metrics
from errata.serve.api.security import HEADERS, check_origin, known
from errata.serve.service import Service

log = logging.getLogger("errata.serve.access")

_ID = re.compile(r"[\w.:-]{1,64}", re.ASCII)
METHODS = frozenset({"GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS"})
UNLIMITED = ("/healthz", "/readyz", "/metrics")


class Stalled(Exception):
    """The client reads no more of its answer."""


class Front:
    """Around the whole app."""

    def __init__(self, app: ASGIApp, *, service: Service, metrics: Metrics) -> None:
        self._app, self._service, self._metrics = app, service, metrics
        self._limiter = Limiter(service.settings.rate, service.settings.burst)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers, started = Headers(scope=scope), time.perf_counter()
        given = headers.get("x-request-id", "")
        id = given if _ID.fullmatch(given) else secrets.token_hex(8)
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._mark(MutableHeaders(scope=message), id)
            await self._patiently(send, message)

        try:
            self._admit(scope, headers)
            await self._app(scope, self._limited(receive), answer)
        except Exception as error:
            if _caused(error, Stalled):
                log.warning("a client stopped reading", extra={"id": id})
            elif not status:
                await explained(error).response()(scope, receive, answer)
            else:
                explained(error)  # which logs it; the answer is cut off
        finally:
            self._tell(scope, headers, id, status, time.perf_counter() - started)

    def _admit(self, scope: Scope, headers: Headers) -> None:
        """Raises: ApiError for a request that is not let in."""
        settings = self._service.settings
        check_origin(headers, settings.names)
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > settings.max_body:
            raise ApiError(413, f"the body is larger than the {settings.max_body} bytes this server takes; send less")
        if scope["path"] not in UNLIMITED and (seconds := self._limiter.take(self._caller(scope, headers))):
            wait = {"Retry-After": str(seconds)}
            raise ApiError(429, "too many requests; slow down", code="rate_limit", headers=wait)

    def _caller(self, scope: Scope, headers: Headers) -> str:
        key = known(self._service.keys, headers)
        return f"key {key.name}" if key else f"address {(scope.get('client') or ('',))[0]}"

    def _limited(self, receive: Receive) -> Receive:
        """Counts a body that did not say how long it is."""
        size, most = 0, self._service.settings.max_body

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > most:
                raise HTTPException(413)
            return message

        return counted

    async def _patiently(self, send: Send, message: Message) -> None:
        """Send; a client that takes nothing for as long as an answer may last is given up. Raises: Stalled."""
        try:
            async with asyncio.timeout(self._service.settings.timeout):
                await send(message)
        except TimeoutError:
            raise Stalled from None

    def _mark(self, headers: MutableHeaders, id: str) -> None:
        headers["X-Request-Id"] = id
        for name, value in HEADERS.items():
            headers.setdefault(name, value)
        if self._service.answering:
            headers.setdefault("X-Errata-Head", str(self._service.engine.head))

    def _tell(self, scope: Scope, headers: Headers, id: str, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "other")
        method = scope["method"] if scope["method"] in METHODS else "other"
        self._metrics.requests.labels(method, route, str(status)).inc()
        self._metrics.latency.labels(route).observe(seconds)
        values: dict[str, Any] = {
            "id": id, "method": scope["method"], "path": scope["path"], "status": status,
            "seconds": round(seconds, 4), "client": (scope.get("client") or ("",))[0],
        }  # fmt: skip
        log.info("request", extra=values)


def _caused(error: BaseException | None, kind: type[Exception]) -> bool:
    """Whether it is of a kind, or was raised because of one that is."""
    while error is not None and not isinstance(error, kind):
        error = error.__cause__
    return error is not None
