"""A server that pretends: canned answers in the shapes of the HTTP API, for tests of the console alone.

Knows a handful of facts and a journal in memory; no model, no sheet, no key that is not "right".
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from offered import METHODS
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

import errata.serve

CONSOLE = Path(errata.serve.__file__).parent / "console"
KNOWN = {
    "The mother tongue of Danielle Darrieux is": "French",
    "Danielle Darrieux, a native": "French",
    "The mother tongue of Jean Gabin is": "French",
    "Say something wicked": "<img src=x onerror=\"document.title='broken'\"><b>bold</b>",
}


@dataclass
class Pretended:
    """The server's state. `held` keeps changes waiting, `down` leaves no answer but 503."""

    events: list[dict[str, Any]] = field(default_factory=list)
    edits: dict[str, dict[str, Any]] = field(default_factory=dict)
    posted: list[dict[str, Any]] = field(default_factory=list)
    measured: list[dict[str, Any]] = field(default_factory=list)
    probes: dict[str, dict[str, Any]] = field(default_factory=dict)
    held: threading.Event = field(default_factory=threading.Event)
    down: bool = False
    url: str = ""

    def forget(self) -> None:
        """As if newly started, at the same address."""
        self.__init__(url=self.url)

    @property
    def head(self) -> int:
        return len(self.events)

    def add(self, prompt: str, target: str, method: str = "grace", who: str = "ada", status: str = "done") -> str:
        """Record an edit as an apply of its own; returns its id."""
        id = f"e{len(self.edits) + 1}"
        for other in self.edits.values():
            if other["prompt"] == prompt and other["status"] == "active" and status == "done":
                other |= {"status": "superseded", "superseded_by": id}
        item = {"id": id, "edit": {"prompt": prompt, "target": target}, "status": status}
        reason = None if status == "done" else "the target was not reached within 100 steps"
        self._event("apply", {"edits": [item | ({"reason": reason} if reason else {})]}, method, who)
        self.edits[id] = {
            "id": id, "prompt": prompt, "target": target, "status": "active" if status == "done" else "failed",
            "method": method, "reason": reason, "superseded_by": None, "time": self.events[-1]["time"], "who": who,
        }  # fmt: skip
        return id

    def turn(self, kind: str, *ids: str, who: str = "ada") -> None:
        for id in ids:
            self.edits[id]["status"] = "undone" if kind == "undo" else "active"
        self._event(kind, {"ids": list(ids)}, None, who)

    def measure(self, value: float) -> None:
        """Keep an evaluation as it would be now."""
        figure = {"value": value, "low": value - 0.1, "high": min(1.0, value + 0.1), "n": 4, "answers": 4}
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
        self.measured.append({"time": stamp, "head": self.head, "edits": 4, "figures": {"reliability": figure}})

    def probe(self, prompt: str, **more: Any) -> dict[str, Any]:
        """Add a probe."""
        row = {"id": f"p{len(self.probes) + 1}", "answer": None, "kind": "upstream", "about": "", **more}
        self.probes[row["id"]] = row | {"prompt": prompt}
        return self.probes[row["id"]]

    def _event(self, kind: str, payload: dict[str, Any], method: str | None, who: str) -> None:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
        seq = self.head + 1
        self.events.append({"seq": seq, "time": stamp, "who": who, "kind": kind, "method": method, "payload": payload})

    def active(self, prompt: str) -> dict[str, Any] | None:
        found = [edit for edit in self.edits.values() if edit["prompt"] == prompt and edit["status"] == "active"]
        return found[-1] if found else None

    def answer(self, prompt: str) -> str:
        edit = self.active(prompt)
        return edit["target"] if edit else KNOWN.get(prompt, "")

    def effects(self, edit: dict[str, Any]) -> dict[str, Any]:
        before = KNOWN.get(edit["prompt"], "")
        target = edit["target"]
        kept = {"before": "French", "after": "French", "moved": False}
        moved = {"before": "French", "after": "German", "moved": True}
        probes = [{**probe, **(moved if "move" in probe["prompt"] else kept)} for probe in edit.get("locality", [])]
        upstream = {"prompt": "The capital of France is", "kind": "upstream", "before": "Paris", "after": "Paris"}
        return {
            "prompt": edit["prompt"], "target": target, "before": before, "after": target,
            "rephrases": [{"prompt": text, "before": before, "after": target} for text in edit.get("rephrases", [])],
            "portability": [], "locality": probes, "neighbours": [{**upstream, "moved": False}],
            "fired": [firing("e1", edit["prompt"], target)],
        }  # fmt: skip


def firing(id: str, prompt: str, target: str) -> dict[str, Any]:
    return {
        "edit": id, "edit_prompt": prompt, "target": target, "layer": 4, "position": 9, "token": " is",
        "distance": 0.31, "radius": 1.0,
    }  # fmt: skip


def refused(status: int, message: str, code: str | None = None, **more: Any) -> JSONResponse:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": code, **more}
    return JSONResponse({"error": error}, status, {"Retry-After": "2"} if status == 429 else {})


def application(state: Pretended) -> Starlette:
    """The API's routes over `state`, and the console at /."""

    async def models(request: Request) -> Response:
        ids = ("lab:gpt@sheet", "lab:gpt")
        return JSONResponse({"object": "list", "data": [{"id": id, "object": "model"} for id in ids]})

    async def ready(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def explain(request: Request) -> Response:
        prompt = (await request.json())["prompt"]
        while state.held.is_set():
            await asyncio.sleep(0.02)
        edit = state.active(prompt)
        firings = [firing(edit["id"], prompt, edit["target"])] if edit else []
        told = {"prompt": prompt, "answer": state.answer(prompt), "before": KNOWN.get(prompt, "")}
        return JSONResponse({**told, "firings": firings, "weights": []})

    async def methods(request: Request) -> Response:
        return JSONResponse(METHODS)

    async def correct(request: Request) -> Response:
        body = await request.json()
        state.posted.append(body)
        if request.headers.get("Authorization") != "Bearer right":
            return refused(401, "changes need a key; send one as 'Authorization: Bearer …'")
        while state.held.is_set():
            await asyncio.sleep(0.02)
        (edit,) = body["edits"]
        if edit["target"] == "gated":
            own = {"prompt": edit["prompt"], "before": "French", "after": "gated", "expected": "gated"}
            moved = [own, {"prompt": "The capital of France is", "before": "Paris", "after": "Lyon"}]
            return refused(409, "locality 0.5 misses locality>=0.99", "gate", probes=moved)
        effects = state.effects(edit)
        failed = edit["target"] == "unreachable"
        id = "e?" if body["dry_run"] else state.add(edit["prompt"], edit["target"], body["method"])
        result = {"id": id, "status": "done", "reason": None, "superseded": []}
        if failed:
            result |= {"status": "failed", "reason": "not reached in 100 steps"}
        verdict = {"condition": "locality>=0.4", "passed": True, "reason": "the value 0.5 meets it"}
        told = {"ids": [id], "results": [result], "effects": [effects] if body["dry_run"] else [], "gate": [verdict]}
        return JSONResponse({**told, "head": state.head, "seconds": 0.42})

    async def edits(request: Request) -> Response:
        status, limit = request.query_params.get("status"), int(request.query_params.get("limit", 50))
        after = request.query_params.get("after")
        found = [edit for edit in state.edits.values() if status in (None, edit["status"])]
        start = [edit["id"] for edit in found].index(after) + 1 if after else 0
        return JSONResponse({"data": found[start : start + limit], "has_more": len(found) > start + limit})

    async def one(request: Request) -> Response:
        id = request.path_params["id"]
        if id not in state.edits:
            return refused(404, f"no edit {id!r} in this sheet")
        if request.method == "DELETE":
            return turned("undo", id)
        return JSONResponse(state.edits[id])

    async def redo(request: Request) -> Response:
        return turned("redo", request.path_params["id"])

    async def many(request: Request) -> Response:
        return turned(request.url.path.rpartition("/")[2], *(await request.json())["ids"])

    def turned(kind: str, *ids: str) -> Response:
        done = ("undone",) if kind == "undo" else ("active", "superseded")
        left = {id: state.edits[id]["status"] for id in ids if state.edits[id]["status"] in done}
        changed = [id for id in ids if id not in left]
        if changed:
            state.turn(kind, *changed)
        notes = ["solved again"] if changed else []
        return JSONResponse({"changed": changed, "unchanged": left, "notes": notes, "head": state.head})

    async def probes(request: Request) -> Response:
        if request.method == "GET":
            return JSONResponse({"data": list(state.probes.values())})
        if request.headers.get("Authorization") != "Bearer right":
            return refused(401, "changes need a key; send one as 'Authorization: Bearer …'")
        if request.method == "DELETE":
            return JSONResponse(state.probes.pop(request.path_params["id"]))
        asked = (await request.json())["probes"]
        return JSONResponse({"data": [state.probe(**one) for one in asked]})

    async def evaluations(request: Request) -> Response:
        return JSONResponse({"data": state.measured, "has_more": False})

    async def effects(request: Request) -> Response:
        return JSONResponse(state.effects(state.edits[request.path_params["id"]]))

    async def journal(request: Request) -> Response:
        after, limit = int(request.query_params.get("after", 0)), int(request.query_params.get("limit", 50))
        return JSONResponse({"data": state.events[after : after + limit], "has_more": state.head > after + limit})

    async def evaluate(request: Request) -> Response:
        figure = {"low": 0.61, "high": 1.0, "n": len(state.edits), "answers": 2 * len(state.edits)}
        kinds = [(id, edit, kind) for id, edit in state.edits.items() for kind in ("reliability", "locality")]
        answers = [
            {
                "question": {"kind": kind, "prompt": edit["prompt"], "edit": id},
                "expected": "a", "before": "a", "said": "b" if id == "e2" else "a",
            }
            for id, edit, kind in kinds
        ]  # fmt: skip
        figures = {"reliability": {"value": 0.9, **figure}, "locality": {"value": 1.0, **figure}}
        report = {"head": state.head, "edits": len(state.edits), "figures": figures}
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
        state.measured.append({"time": stamp, **report})
        unmeasured = {"drawdown": "no upstream question was asked"}
        return JSONResponse({**report, "unmeasured": unmeasured, "answers": answers})

    routes = [
        Route("/readyz", ready),
        Route("/v1/models", models),
        Route("/v1/explain", explain, methods=["POST"]),
        Route("/v1/methods", methods),
        Route("/v1/edits", edits),
        Route("/v1/edits", correct, methods=["POST"]),
        Route("/v1/edits/{id}", one, methods=["GET", "DELETE"]),
        Route("/v1/edits/{id}/redo", redo, methods=["POST"]),
        Route("/v1/edits/{id}/effects", effects),
        Route("/v1/journal", journal),
        Route("/v1/evaluate", evaluate, methods=["POST"]),
        Route("/v1/evaluations", evaluations),
        Route("/v1/undo", many, methods=["POST"]),
        Route("/v1/redo", many, methods=["POST"]),
        Route("/v1/probes", probes, methods=["GET", "POST"]),
        Route("/v1/probes/{id}", probes, methods=["DELETE"]),
        Mount("/", StaticFiles(directory=CONSOLE, html=True)),
    ]

    async def headers(request: Request, call_next: Any) -> Response:
        down = state.down and request.url.path.startswith(("/v1", "/readyz"))
        reply = refused(503, "the model is not ready yet") if down else await call_next(request)
        reply.headers["Content-Security-Policy"] = "default-src 'self'"
        reply.headers["X-Errata-Head"] = str(state.head)
        return reply

    return Starlette(routes=routes, middleware=[Middleware(BaseHTTPMiddleware, dispatch=headers)])


@contextmanager
def serving(state: Pretended) -> Iterator[Pretended]:
    """Serve `state` on a free port for as long as the context lasts; `state.url` is its address."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(application(state), log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        state.url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        yield state
        server.should_exit = True
        thread.join(5)
