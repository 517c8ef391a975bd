"""POST /v1/chat/completions: the next message of a conversation, as OpenAI's chats give it. Knows that one shape."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, Field

from errata.serve.api import openai
from errata.serve.api.errors import ApiError, documented
from errata.serve.api.openai import Asked, Errata, Strict, Usage
from errata.serve.api.security import Asker, service_of
from errata.serve.engine.request import Finished, Generation, Token
from errata.serve.reader import Turn

router = APIRouter()

UNBOUNDED = 4096  # tokens of an answer of a model that has no longest context


class Part(Strict):
    """A part of a message's content: text, which is all that these models read."""

    type: Literal["text"]
    text: str


class Message(Strict):
    """A message of the conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part]
    name: str | None = Field(None, description="taken, and without effect")

    def turn(self) -> Turn:
        """Return the message with its text parts joined."""
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return Turn(self.role, text)


class TextFormat(Strict):
    """The one format of answers."""

    type: Literal["text"]


class ChatAsked(Asked):
    """A request for the next message."""

    messages: Annotated[list[Message], Field(min_length=1)]
    max_tokens: int | None = Field(None, ge=1, description="as much as the model can read if left out")
    max_completion_tokens: int | None = Field(None, ge=1, description="the newer name of max_tokens")
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20, description="alternatives to tell with every token")
    response_format: TextFormat | None = None
    tools: None = Field(None, description="not supported")
    tool_choice: None = Field(None, description="not supported")
    parallel_tool_calls: bool | None = Field(None, description="taken, and without effect")
    chat_template_kwargs: dict[str, Any] | None = Field(
        None, description="arguments of the model's chat template, such as enable_thinking"
    )


class Alternative(BaseModel):
    """A token that could have stood in a place."""

    token: str
    logprob: float
    bytes: list[int] | None


class Chosen(Alternative):
    """A token, and what could have stood in its place."""

    top_logprobs: list[Alternative]


class ChatLogprobs(BaseModel):
    """Of every token of the message."""

    content: list[Chosen]
    refusal: None = None


class Answer(BaseModel):
    """A message that the model wrote."""

    role: Literal["assistant"]
    content: str
    refusal: None = None


class ChatChoice(BaseModel):
    """One answer."""

    index: int
    message: Answer
    logprobs: ChatLogprobs | None
    finish_reason: Literal["stop", "length"]


class ChatCompletion(BaseModel):
    """The answers."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
    errata: Errata


@router.post("/v1/chat/completions", response_model=ChatCompletion, responses=documented(404, 504), tags=["OpenAI"])
async def chat(request: Request, asked: ChatAsked, _: Asker) -> JSONResponse | StreamingResponse:
    """The next message. Without a chat template the model goes on with the messages' texts, a line each."""
    service = service_of(request)
    version = service.engine.version(parent=openai.is_parent(service, asked.model))
    if asked.top_logprobs is not None and not asked.logprobs:
        raise ApiError(400, "top_logprobs needs logprobs: true", param="top_logprobs")
    turns = [message.turn() for message in asked.messages]
    prompt = await service.reader.chat(turns, version.model, asked.chat_template_kwargs)
    limit = asked.max_completion_tokens or asked.max_tokens or service.base.context or UNBOUNDED
    sampling = asked.sampling(max_tokens=limit, logprobs=(asked.top_logprobs or 0) if asked.logprobs else None)
    generations = openai.submit(service, [prompt.ids], asked, sampling, version=version, fired=prompt.fired)
    if asked.stream:
        return StreamingResponse(openai.events(_chunks(asked, generations)), media_type="text/event-stream")
    answers = await openai.complete(request, generations)
    body = {
        **openai.identity("chatcmpl"), "object": "chat.completion", "model": asked.model,
        "choices": [_choice(number, answer, asked) for number, answer in enumerate(answers)],
        "usage": openai.usage(answers, asked.n or 1), "errata": openai.errata(answers),
    }  # fmt: skip
    return JSONResponse(body, headers=openai.headers(answers))


def _choice(number: int, answer: Finished, asked: ChatAsked) -> dict[str, Any]:
    logprobs = _logprobs(answer.tokens) if asked.logprobs else None
    message = {"role": "assistant", "content": answer.text, "refusal": None}
    return {"index": number, "message": message, "logprobs": logprobs, "finish_reason": answer.finish_reason}


def _logprobs(tokens: Sequence[Token]) -> dict[str, Any]:
    content = [
        _alternative(token.text, token.logprob) | {"top_logprobs": [_alternative(*one) for one in token.top]}
        for token in tokens
    ]
    return {"content": content, "refusal": None}


def _alternative(text: str, logprob: float | None) -> dict[str, Any]:
    return {"token": text, "logprob": openai.spoken(logprob), "bytes": list(text.encode())}


async def _chunks(asked: ChatAsked, generations: Sequence[Generation]) -> AsyncIterator[dict[str, Any]]:
    """The stream: who speaks, a chunk for every token, one for the end of each answer, and the last with `errata`."""
    base = {**openai.identity("chatcmpl"), "object": "chat.completion.chunk", "model": asked.model}
    ended: dict[int, Finished] = {}

    def chunk(number: int, delta: Any, logprobs: Any = None, reason: str | None = None) -> dict[str, Any]:
        return {**base, "choices": [{"index": number, "delta": delta, "logprobs": logprobs, "finish_reason": reason}]}

    for number in range(len(generations)):
        yield chunk(number, {"role": "assistant", "content": ""})
    async for number, item in openai.merged(generations):
        if isinstance(item, Finished):
            ended[number] = item
            last = {"errata": openai.errata(openai.ordered(ended))} if len(ended) == len(generations) else {}
            yield chunk(number, {}, reason=item.finish_reason) | last
        elif item.text or asked.logprobs:
            yield chunk(number, {"content": item.text}, _logprobs([item]) if asked.logprobs else None)
    if asked.tells_usage:
        answers = openai.ordered(ended)
        yield {**base, "choices": [], "usage": openai.usage(answers, asked.n or 1), "errata": openai.errata(answers)}
