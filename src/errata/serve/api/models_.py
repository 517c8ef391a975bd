"""What there is to ask and to correct with: /v1/models, /v1/methods, /v1/explain, and whether the server is well.

Knows the service's names and state, and the methods' own descriptions.
"""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from errata.methods._base import METHODS, TASKS
from errata.prompts import Conversation, prompt_of
from errata.serve.api.errors import ApiError, ErrorReply, documented
from errata.serve.api.openai import cancel, complete
from errata.serve.api.prompts import RawPromptAsked
from errata.serve.api.schemas import schema_of
from errata.serve.api.security import Asker, service_of
from errata.serve.desk.firings import told
from errata.serve.desk.gate import CHAT_TOKENS, TOKENS
from errata.serve.desk.wording import describe_prompt
from errata.serve.engine.request import Fired, Sampling
from errata.serve.service import Service
from errata.serve.settings import DEFAULT_METHOD

router = APIRouter()



class Model(BaseModel):
    """A model that can be asked; `parent` is the one it is made from, None for the model without edits."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    parent: str | None
    task: str
    chat: bool = Field(description="whether a prompt of an edit or a probe is a user message")


class ModelList(BaseModel):
    """The served sheet first, the model without edits second."""

    object: Literal["list"]
    data: list[Model]


class MethodRow(BaseModel):
    """A way of editing; `schema` is the JSON schema of its options."""

    name: str
    summary: str
    paper: str
    patch: str
    tasks: list[str]
    needs_training: bool
    schema_: dict[str, Any] = Field(alias="schema")


class MethodList(BaseModel):
    """All methods; `default` is the one taken where none is named."""

    object: Literal["list"]
    data: list[MethodRow]
    default: str


class ExplainAsked(RawPromptAsked):
    """What to explain the answer to."""


class FiringRow(BaseModel):
    """An edit that fired: where, how near its key, within which radius."""

    edit: str
    edit_prompt: str
    target: str
    layer: int
    position: int
    token: str
    distance: float
    radius: float


class Explanation(BaseModel):
    """An answer with the edits and without, and which edits had a part in it. `weights` act on every answer."""

    prompt: str
    messages: list[dict[str, str]] | None
    answer: str
    before: str
    firings: list[FiringRow]
    weights: list[str]
    head: int


class Health(BaseModel):
    """How the server is."""

    status: Literal["ok"]


@router.get("/v1/models", response_model=ModelList, responses=documented(), tags=["OpenAI"])
async def models(request: Request, _: Asker) -> Any:
    """The models that can be asked."""
    return {"object": "list", "data": _models(service_of(request))}


@router.get("/v1/models/{id:path}", response_model=Model, responses=documented(404), tags=["OpenAI"])
async def model(request: Request, id: str, _: Asker) -> Any:
    """One of them."""
    for known in _models(service_of(request)):
        if known["id"] == id:
            return known
    raise ApiError(404, f"the model '{id}' is not served here", code="model_not_found", param="model")


@router.get("/v1/methods", response_model=MethodList, responses=documented(), tags=["Errata"])
async def methods(request: Request, _: Asker) -> Any:
    """The ways of editing this model, with their options."""
    service = service_of(request)
    rows = [row for row in await asyncio.to_thread(_methods) if service.base.task in row["tasks"]]
    usable = [row for row in rows if service.in_chat or not METHODS.get(row["name"]).meta["chat"]]
    return {"object": "list", "data": [AUTOMATIC, *usable], "default": DEFAULT_METHOD}


@router.post("/v1/explain", response_model=Explanation, responses=documented(504), tags=["Errata"])
async def explain(request: Request, asked: ExplainAsked, _: Asker) -> Any:
    """Why the model answers as it does: greedily, with the edits and without, and which of them fired."""
    service = service_of(request)
    prompt = service.read(prompt_of(asked.model_dump(exclude_none=True)))
    version, parent = service.engine.version(), service.engine.version(parent=True)
    noted, plain = [await service.reader.prompt(prompt, one.model) for one in (version, parent)]
    sampling = Sampling(temperature=0.0, max_tokens=CHAT_TOKENS if isinstance(prompt, Conversation) else TOKENS)
    limit = service.settings.timeout
    made = service.engine.submit_all([(noted.ids, sampling)], timeout=limit, version=version, fired=noted.fired)
    try:
        made.append(service.engine.submit(plain.ids, sampling, parent=True, timeout=limit))
    except Exception:
        cancel(made)
        raise
    now, before = await complete(request, made)
    texts = await service.reader.texts([[id] for id in noted.ids], special=True)
    return {
        **describe_prompt(prompt), "answer": now.text.strip(), "before": before.text.strip(),
        "firings": [_firing(service, fired, texts) for fired in now.fired],
        "weights": service.follower.weight_edits(), "head": now.version,
    }  # fmt: skip


@router.get("/healthz", response_model=Health, tags=["Operation"])
async def health() -> Any:
    """Whether the server answers at all."""
    return {"status": "ok"}


@router.get("/readyz", response_model=Health, responses={503: {"model": ErrorReply}}, tags=["Operation"])
async def ready(request: Request) -> Any:
    """Whether it can answer prompts and take corrections: the model is there and the sheet can be read."""
    service = service_of(request)
    if not service.ready:
        what = "the worker that makes changes is starting" if service.answering else "the model is being loaded"
        raise ApiError(503, f"{what}; ask again in a moment", code="loading")
    if service.follower.trouble:
        raise ApiError(503, service.follower.trouble, code="sheet")
    return {"status": "ok"}


@router.get("/metrics", responses={200: {"content": {"text/plain": {}}}}, response_class=Response, tags=["Operation"])
async def metrics(request: Request) -> Response:
    """Figures of this moment for Prometheus."""
    return Response(request.app.state.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _models(service: Service) -> list[dict[str, Any]]:
    served, parent = service.names
    common = {
        "object": "model", "created": service.started, "owned_by": "errata", "task": service.base.task,
        "chat": service.in_chat,
    }
    return [{"id": served, "parent": parent, **common}, {"id": parent, "parent": None, **common}]


AUTOMATIC = {
    "name": DEFAULT_METHOD, "summary": "The method that serves this model and these edits.", "paper": "Errata",
    "patch": "as the method that is chosen", "tasks": list(TASKS), "needs_training": False,
    "schema": {"type": "object", "properties": {}, "additionalProperties": True},
}  # fmt: skip


@cache
def _methods() -> list[dict[str, Any]]:
    return [_method(name) for name in METHODS.names()]


def _method(name: str) -> dict[str, Any]:
    method = METHODS.get(name)
    summary = (method.__doc__ or "").strip().split("\n")[0]
    meta = method.meta
    return {
        "name": name, "summary": summary, "paper": meta["paper"], "patch": meta["patch"], "tasks": list(meta["tasks"]),
        "needs_training": meta["needs_training"], "schema": schema_of(method.Config),
    }  # fmt: skip


def _firing(service: Service, fired: Fired, tokens: list[str]) -> dict[str, Any]:
    edit = service.follower.state.edits.get(fired.edit)
    known = {edit.id: (edit.prompt, edit.target)} if edit else {}
    return told(fired, known, tokens)
