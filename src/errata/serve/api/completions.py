"""POST /v1/completions: what follows a prompt, as OpenAI's completions give it. Knows that one shape."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, Field

from errata.serve.api import openai
from errata.serve.api.errors import ApiError, documented
from errata.serve.api.openai import Asked, Errata, Usage
from errata.serve.api.security import Asker, service_of
from errata.serve.engine.request import Finished, Generation, Token
from errata.serve.service import Service

router = APIRouter()

MAX_TOKENS = 16  # OpenAI's default
Text = Annotated[str, Field(min_length=1)]
Ids = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


class CompletionAsked(Asked):
    """A request for completions."""

    prompt: Text | Annotated[list[Text], Field(min_length=1)] | Ids | Annotated[list[Ids], Field(min_length=1)] = Field(
        description="a text, texts, token ids, or lists of those"
    )
    max_tokens: int | None = Field(None, ge=1, description=f"{MAX_TOKENS} if left out")
    logprobs: int | None = Field(None, ge=0, le=20, description="alternatives to tell with every token")
    echo: bool | None = Field(None, description="begin with the prompt")
    best_of: Literal[1] | None = Field(None, description="more than 1 is not supported")
    suffix: None = Field(None, description="not supported")


class Logprobs(BaseModel):
    """Of every token: its text, its log-probability, the likeliest in its place, and where it starts in the text."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class Choice(BaseModel):
    """One answer."""

    index: int
    text: str
    logprobs: Logprobs | None
    finish_reason: Literal["stop", "length"]


class Completion(BaseModel):
    """The answers."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    errata: Errata


@router.post("/v1/completions", response_model=Completion, responses=documented(404, 504), tags=["OpenAI"])
async def completions(request: Request, asked: CompletionAsked, _: Asker) -> JSONResponse | StreamingResponse:
    """What follows a prompt. Answers name the head of the sheet and the edits that fired, in `errata`."""
    service = service_of(request)
    openai.is_parent(service, asked.model)
    if asked.echo and asked.logprobs is not None:
        raise ApiError(400, "no log-probabilities of the prompt; leave out echo or logprobs", param="logprobs")
    if asked.echo and service.base.task != "causal":
        raise ApiError(400, "this model's answers do not go on from the prompt; leave out echo", param="echo")
    rows = await _rows(service, asked)
    heads = [head for head in await _heads(service, asked, rows) for _ in range(asked.n or 1)]
    sampling = asked.sampling(max_tokens=asked.max_tokens or MAX_TOKENS, logprobs=asked.logprobs)
    generations = openai.submit(service, rows, asked, sampling)
    if asked.stream:
        return StreamingResponse(openai.events(_chunks(asked, generations, heads)), media_type="text/event-stream")
    answers = await openai.complete(request, generations)
    choices = [_choice(number, answer, heads[number], asked) for number, answer in enumerate(answers)]
    body = {
        **openai.identity("cmpl"), "object": "text_completion", "model": asked.model, "choices": choices,
        "usage": openai.usage(answers, asked.n or 1), "errata": openai.errata(answers),
    }  # fmt: skip
    return JSONResponse(body, headers=openai.headers(answers))


async def _rows(service: Service, asked: CompletionAsked) -> list[list[int]]:
    """The ids of every prompt."""
    given: Any = asked.prompt
    if isinstance(given, str) or isinstance(given[0], int):
        given = [given]
    return await service.reader.prompts(given) if isinstance(given[0], str) else given


async def _heads(service: Service, asked: CompletionAsked, rows: Sequence[Sequence[int]]) -> list[str]:
    """What each answer begins with: its prompt, if that was asked for."""
    if not asked.echo:
        return [""] * len(rows)
    given: Any = asked.prompt
    if isinstance(given, str):
        return [given]
    return given if isinstance(given[0], str) else await service.reader.texts(rows)


def _choice(number: int, answer: Finished, head: str, asked: CompletionAsked) -> dict[str, Any]:
    logprobs = None if asked.logprobs is None else _logprobs(answer.tokens, 0)
    return {"index": number, "text": head + answer.text, "logprobs": logprobs, "finish_reason": answer.finish_reason}


def _logprobs(tokens: Sequence[Token], start: int) -> dict[str, Any]:
    offsets = []
    for token in tokens:
        offsets.append(start)
        start += len(token.text)
    return {
        "tokens": [token.text for token in tokens],
        "token_logprobs": [openai.spoken(token.logprob) for token in tokens],
        "top_logprobs": [{text: openai.spoken(value) for text, value in token.top} for token in tokens],
        "text_offset": offsets,
    }


async def _chunks(
    asked: CompletionAsked, generations: Sequence[Generation], heads: Sequence[str]
) -> AsyncIterator[dict[str, Any]]:
    """The stream: a chunk for every token, one for the end of each answer, and the last with `errata`."""
    base = {**openai.identity("cmpl"), "object": "text_completion", "model": asked.model}
    ended: dict[int, Finished] = {}
    offsets = [0] * len(generations)

    def chunk(number: int, text: str, logprobs: Any = None, reason: str | None = None) -> dict[str, Any]:
        return {**base, "choices": [{"index": number, "text": text, "logprobs": logprobs, "finish_reason": reason}]}

    for number, head in enumerate(heads):
        if head:
            yield chunk(number, head)
    async for number, item in openai.merged(generations):
        if isinstance(item, Finished):
            ended[number] = item
            last = {"errata": openai.errata(openai.ordered(ended))} if len(ended) == len(generations) else {}
            yield chunk(number, "", reason=item.finish_reason) | last
        elif item.text or asked.logprobs is not None:
            logprobs = None if asked.logprobs is None else _logprobs([item], offsets[number])
            offsets[number] += len(item.text)
            yield chunk(number, item.text, logprobs)
    if asked.tells_usage:
        answers = openai.ordered(ended)
        yield {**base, "choices": [], "usage": openai.usage(answers, asked.n or 1), "errata": openai.errata(answers)}
