"""The sheet's own questions, /v1/probes, and what is asked of them: /v1/evaluate, /v1/evaluations.

Knows questions and figures.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from errata.errors import BadSheet, UnknownName
from errata.evaluate.questions import Question
from errata.serve.api.errors import ApiError, documented
from errata.serve.api.openai import Strict
from errata.serve.api.prompts import RawPromptAsked, Text
from errata.serve.api.security import Asker, Writer, service_of
from errata.serve.desk.probes import to_json

log = logging.getLogger(__name__)

router = APIRouter(tags=["Errata"])

MOST = 1000  # probes of one request


class NewProbe(RawPromptAsked):
    """A question that no edit is about."""

    answer: Text | None = Field(None, description="the right one; if left out, what the model says without edits")
    kind: Literal["upstream", "locality"] = Field("upstream", description="what drawdown and locality count")
    about: str = Field("", description="a word by which figures are told apart")


class ProbesAsked(Strict):
    """Questions to add."""

    probes: list[NewProbe] = Field(min_length=1, max_length=MOST)


class ProbeRow(BaseModel):
    """A question of the sheet."""

    id: str
    prompt: str
    messages: list[dict[str, str]] | None
    raw: bool
    answer: str | None
    kind: Literal["upstream", "locality"]
    about: str


class ProbeList(BaseModel):
    """Questions of the sheet."""

    object: Literal["list"]
    data: list[ProbeRow]


class EvaluationAsked(Strict):
    """What to measure."""

    metrics: list[Text] | None = Field(None, max_length=50, description="by name; all that read answers if left out")


class Figure(BaseModel):
    """A value, its 95 % interval, and how many edits or questions and how many answers it rests on."""

    value: float
    low: float
    high: float
    n: int
    answers: int


class Evaluation(BaseModel):
    """Figures, and every answer they rest on."""

    head: int
    edits: int
    figures: dict[str, Figure]
    unmeasured: dict[str, str]
    answers: list[dict[str, Any]]


class PastEvaluation(BaseModel):
    """The figures of an evaluation that was made, and the sheet's last event then."""

    time: str
    head: int
    edits: int
    figures: dict[str, Figure]


class EvaluationList(BaseModel):
    """Evaluations, oldest first."""

    object: Literal["list"]
    data: list[PastEvaluation]
    has_more: bool


@router.get("/v1/probes", response_model=ProbeList, responses=documented())
async def every(request: Request, _: Asker) -> Any:
    """The questions that gates, trials and evaluations ask besides those of the edits."""
    return _listed(await asyncio.to_thread(service_of(request).probes.questions))


@router.post("/v1/probes", response_model=ProbeList, responses=documented(507))
async def add(request: Request, asked: ProbesAsked, _: Writer) -> Any:
    """Add questions; gives those that were added or were there already."""
    values = [probe.model_dump() for probe in asked.probes]
    return _listed(await asyncio.to_thread(service_of(request).probes.add, values))


@router.delete("/v1/probes/{id}", response_model=ProbeRow, responses=documented(404, 507))
async def remove(request: Request, id: str, _: Writer) -> Any:
    """Take a question out; gives what it was."""
    try:
        return to_json(await asyncio.to_thread(service_of(request).probes.remove, id))
    except UnknownName as error:
        raise ApiError(404, str(error), code="probe_not_found") from error


@router.post("/v1/evaluate", response_model=Evaluation, responses=documented(504))
async def evaluate(request: Request, _: Asker, asked: EvaluationAsked | None = None) -> Any:
    """Ask everything the sheet knows to ask, with the edits and without, and say what they fixed and what they moved.

    Changes of the sheet wait meanwhile; answers do not. The figures are kept: see /v1/evaluations.
    """
    service = service_of(request)
    report = await service.desk.do("evaluate", metrics=asked.metrics if asked else None)
    try:
        await asyncio.to_thread(service.evaluations.add, report)
    except BadSheet as error:  # what was measured is worth telling all the same
        log.error("figures were not kept", extra={"reason": str(error)})
    return report


@router.get("/v1/evaluations", response_model=EvaluationList, responses=documented())
async def evaluations(
    request: Request,
    _: Asker,
    limit: Annotated[int, Query(ge=1, le=1000, description="the newest so many")] = 100,
) -> Any:
    """The figures of the evaluations that were made so far, the newest of them, oldest first."""
    kept = await asyncio.to_thread(service_of(request).evaluations.all)
    return {"object": "list", "data": kept[-limit:], "has_more": len(kept) > limit}


def _listed(questions: list[Question]) -> dict[str, Any]:
    return {"object": "list", "data": [to_json(question) for question in questions]}
