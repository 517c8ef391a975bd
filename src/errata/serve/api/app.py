"""The app: routes, the front before them, the console, and the service's life around all of it.

Knows how the pieces are put together and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.staticfiles import StaticFiles

from errata.serve.api import chat, completions, docs, edits, errors, models_, probes, undoing
from errata.serve.api.front import Front
from errata.serve.api.metrics import Metrics
from errata.serve.desk.nursery import Nursery
from errata.serve.service import Service
from errata.serve.settings import Settings

log = logging.getLogger(__name__)

CONSOLE = Path(__file__).parents[1] / "console"
ABOUT = (
    "A language model that can be corrected while it serves. Completions and chats are OpenAI's; edits, their effects, "
    "the journal, probes and figures are Errata's own."
)


def build(
    settings: Settings, *, failed: Callable[[], None] | None = None, nursery: Nursery | None = None
) -> FastAPI:
    """The app of one served sheet.

    The model is loaded while the app answers already (/readyz says when it is there). Where that fails,
    `app.state.service.failure` holds the reason and `failed` is called. Workers come from `nursery`, by default
    from one of the app's own.
    """
    metrics = Metrics()
    service = Service(settings, metrics, nursery)
    metrics.watch(service)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        starting = asyncio.create_task(_start(service, failed))
        yield
        starting.cancel()
        with suppress(asyncio.CancelledError):
            await starting
        await service.stop()

    app = FastAPI(
        title="Errata", version=version("errata"), description=ABOUT, lifespan=life, docs_url=None, redoc_url=None
    )
    _describe(app)
    app.state.service, app.state.metrics = service, metrics
    errors.install(app)
    for part in (completions, chat, edits, undoing, probes, models_, docs):
        app.include_router(part.router)
    app.mount("/", StaticFiles(directory=CONSOLE, html=True, check_dir=False), name="console")
    app.add_middleware(Front, service=service, metrics=metrics)
    return app


def _describe(app: FastAPI) -> None:
    """Leave out of the description the 422 that FastAPI gives every route: a wrong request is a 400 here."""
    plain = app.openapi

    def described() -> dict[str, Any]:
        schema = plain()
        for methods in schema["paths"].values():
            for operation in methods.values():
                operation["responses"].pop("422", None)
        return schema

    app.openapi = described


async def _start(service: Service, failed: Callable[[], None] | None) -> None:
    try:
        await service.start()
    except Exception as error:
        log.error("the server cannot start", extra={"reason": str(error)})
        service.failure = error
        if failed is not None:
            failed()
