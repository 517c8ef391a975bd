"""Long requests as server-sent events: how far they are, then their result or their error.

Knows the shape of events and reports; what is being done is the caller's business.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from errata.serve.api.errors import explained
from errata.serve.desk.desk import Report

ALIVE = 5.0  # seconds of silence after which the last report is sent again
STREAMED: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}, "description": "The result"}
}


async def stream(
    work: Callable[[Report], Awaitable[dict[str, Any]]], total: int, unit: str
) -> AsyncIterator[bytes]:
    """Do `work` and tell of it: `progress` events from the start on, at last one `result` or one `error`.

    The first says that the `total` units wait; the last report is sent again, with the time since, if none follows.
    """
    last = {"what": "waiting", "done": 0, "total": total, "unit": unit, "seconds": 0.0, "eta": None}
    told = time.monotonic()
    yield _event("progress", last)
    reports: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

    async def working() -> dict[str, Any]:
        try:
            return await work(reports.put_nowait)
        finally:
            reports.put_nowait(None)

    task = asyncio.create_task(working())
    try:
        while True:
            try:
                report = await asyncio.wait_for(reports.get(), ALIVE)
            except TimeoutError:
                report = {**last, "seconds": last["seconds"] + time.monotonic() - told}
            else:
                if report is None:
                    break
                last, told = report, time.monotonic()
            yield _event("progress", report)
        try:
            yield _event("result", await task)
        except Exception as error:
            yield _event("error", explained(error).body)
    finally:
        task.cancel()


def _event(name: str, value: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps(value, ensure_ascii=False)}\n\n".encode()
