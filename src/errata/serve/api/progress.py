"""Long requests as server-sent events: how far they are, then their result or their error.

Knows the shape of events and reports; what is being done is the caller's business.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from errata.serve.api.errors import explained
from errata.serve.desk.desk import Report

ALIVE = 10.0  # seconds of silence after which a comment keeps the connection open
STREAMED: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}, "description": "The result"}
}


async def stream(work: Callable[[Report], Awaitable[dict[str, Any]]]) -> AsyncIterator[bytes]:
    """Do `work` and tell of it: `progress` events while it reports, at last one `result` or one `error`."""
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
                yield b": still at work\n\n"
                continue
            if report is None:
                break
            yield _event("progress", report)
        try:
            yield _event("result", await task)
        except Exception as error:
            yield _event("error", explained(error).body)
    finally:
        task.cancel()


def _event(name: str, value: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps(value, ensure_ascii=False)}\n\n".encode()
