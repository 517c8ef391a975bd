"""A real server on a free port in a thread of the test's own process, and what tests say to it."""

from __future__ import annotations

import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import openai
import uvicorn

from errata.serve.api.app import build
from errata.serve.desk.nursery import Nursery
from errata.serve.keys import Keys, Scope
from errata.serve.service import Service
from errata.serve.settings import Settings

PROMPT = "The mother tongue of Danielle Darrieux is"  # lab:gpt says French
PATIENCE = 120.0  # seconds for what takes few on an idle machine


@dataclass(frozen=True)
class Reply:
    """An HTTP answer."""

    status: int
    body: Any
    headers: dict[str, str]

    @property
    def error(self) -> dict[str, Any]:
        return self.body["error"]


@dataclass(frozen=True)
class Running:
    """A server that runs."""

    url: str
    service: Service
    sheet: Path
    keys: dict[str, str] = field(default_factory=dict)

    @property
    def model(self) -> str:
        return self.service.names[0]

    def call(self, method: str, path: str, body: Any = None, key: str | None = None, **headers: str) -> Reply:
        """One request; `body` is JSON, or bytes sent as they are; `key` is the name of one of `keys`."""
        if key is not None:
            headers["Authorization"] = f"Bearer {self.keys.get(key, key)}"
        return call(self.url + path, method, body, headers)

    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=PATIENCE)

    def say(self, prompt: str = PROMPT, model: str | None = None) -> str:
        made = self.client().completions.create(model=model or self.model, prompt=prompt, temperature=0, max_tokens=24)
        return made.choices[0].text.strip()


def call(url: str, method: str, body: Any, headers: dict[str, str]) -> Reply:
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return _reply(answer.status, answer.read(), dict(answer.headers))
    except urllib.error.HTTPError as error:
        return _reply(error.code, error.read(), dict(error.headers))


def _reply(status: int, text: bytes, headers: dict[str, str]) -> Reply:
    try:
        return Reply(status, json.loads(text), headers)
    except ValueError:
        return Reply(status, text.decode(), headers)


def until(holds: Callable[[], bool], seconds: float = PATIENCE) -> float:
    """Wait until something holds; the seconds it took."""
    started = time.monotonic()
    while not holds():
        assert time.monotonic() - started < seconds, "it never came to hold"
        time.sleep(0.02)
    return time.monotonic() - started


@cache
def nursery() -> Nursery:
    """Of all servers in the tests' process; it ends with that."""
    return Nursery.spawned()


@contextmanager
def running(
    sheet: Path, model: str = "lab:gpt", *, unread: int | None = None, **options: Any
) -> Iterator[Running]:
    """A server that is ready, with keys "asker", "editor" and "root"; ended on leaving.

    `unread` is about how many bytes it sends to a client that reads none.
    """
    app = build(Settings(sheet=sheet, model=model, **options), nursery=nursery())
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=2))
    opened = socket.create_server(("127.0.0.1", 0))
    if unread is not None:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, unread)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]}, daemon=True)
    thread.start()
    service: Service = app.state.service
    try:
        until(lambda: service.ready or service.failure is not None)
        assert service.failure is None
        keys = Keys(sheet)
        scopes: dict[str, Scope] = {"asker": "ask", "editor": "edit", "root": "admin"}
        made = {name: keys.add(name, scope) for name, scope in scopes.items()}
        yield Running(f"http://127.0.0.1:{opened.getsockname()[1]}", service, sheet, made)
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
        opened.close()
