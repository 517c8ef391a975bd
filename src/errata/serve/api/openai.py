"""What OpenAI's completions and chat have in common: fields of a request, rows for the engine, and the way back.

Knows OpenAI's shapes; what is particular to each of the two is in `completions` and `chat`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field

from errata.errors import ErrataError
from errata.serve.api.errors import ApiError, explained
from errata.serve.engine.request import Finished, Fired, Generation, Sampling, Token
from errata.serve.engine.version import Version
from errata.serve.service import Service

LEFT = 499  # the client closed the connection, as nginx calls it
IMPOSSIBLE = -9999.0  # what OpenAI writes for a probability of nought, whose logarithm JSON lacks

Stop = Annotated[str, Field(min_length=1)]


class Strict(BaseModel):
    """Base of all requests: no field that nobody reads, no text where a number belongs."""

    model_config = ConfigDict(extra="forbid", strict=True)


class StreamOptions(Strict):
    """Of a stream."""

    include_usage: bool | None = Field(None, description="send a last chunk that tells the tokens used")
    include_obfuscation: bool | None = Field(None, description="taken, and without effect")


class Asked(Strict):
    """The fields that completions and chats share. Defaults are OpenAI's."""

    model: str = Field(description="an id of /v1/models")
    temperature: float | None = Field(None, ge=0, le=2, description="0: the likeliest token; 1 if left out")
    top_p: float | None = Field(None, ge=0, le=1)
    n: int | None = Field(None, ge=1, le=128, description="answers to each prompt")
    stop: Stop | Annotated[list[Stop], Field(max_length=16)] | None = Field(None, description="what ends it")
    seed: int | None = Field(None, ge=-(1 << 63), le=(1 << 63) - 1, description="the same seed, the same answer")
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    user: str | None = Field(None, description="taken, and without effect")
    metadata: dict[str, str] | None = Field(None, description="taken, and without effect")
    store: bool | None = Field(None, description="taken, and without effect")
    service_tier: str | None = Field(None, description="taken, and without effect")
    logit_bias: None = Field(None, description="not supported")

    def sampling(self, *, max_tokens: int, logprobs: int | None) -> Sampling:
        """How the answer of the first row is chosen."""
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        return Sampling(
            max_tokens=max_tokens,
            temperature=1.0 if self.temperature is None else self.temperature,
            top_p=1.0 if self.top_p is None else self.top_p,
            seed=self.seed,
            stop=stop,
            logprobs=logprobs,
            presence_penalty=self.presence_penalty or 0.0,
            frequency_penalty=self.frequency_penalty or 0.0,
        )

    @property
    def tells_usage(self) -> bool:
        """Whether a stream ends with the tokens used."""
        return bool(self.stream_options and self.stream_options.include_usage)


class Usage(BaseModel):
    """Tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class EditFired(BaseModel):
    """An edit that answered, and in which choice."""

    id: str
    index: int
    layer: int
    position: int
    distance: float
    radius: float


class Errata(BaseModel):
    """What Errata adds to OpenAI's answers. `weight_edits` is how many edits the weights held."""

    head: int
    edits: list[EditFired]
    weight_edits: int


def is_parent(service: Service, model: str) -> bool:
    """Whether the model asked for is the one without edits. Raises: ApiError for one that is not served."""
    served, parent = service.names
    if model not in (served, parent):
        raise ApiError(
            404, f"the model '{model}' is not served here; use '{served}', or '{parent}' for the model without edits",
            code="model_not_found", param="model",
        )  # fmt: skip
    return model == parent


def submit(
    service: Service,
    rows: Sequence[Sequence[int]],
    asked: Asked,
    sampling: Sampling,
    *,
    version: Version | None = None,
    fired: Sequence[Fired] = (),
) -> list[Generation]:
    """`n` answers to every row, all by one version, or none; `version` and `fired` as `Engine.submit_all` takes them.

    Raises: ApiError, BadEdit, TooLong, Busy, Stopped.
    """
    parent, times = is_parent(service, asked.model), asked.n or 1
    if len(rows) * times > service.settings.max_rows:
        raise ApiError(
            400, f"{len(rows)} prompts times n = {times} is more than the {service.settings.max_rows} answers that one "
            "request gets here", code="too_many_rows",
        )  # fmt: skip
    wanted = [row for row in rows for _ in range(times)]
    seeded = [sampling if sampling.seed is None else reseeded(sampling, place) for place in range(len(wanted))]
    return service.engine.submit_all(
        list(zip(wanted, seeded, strict=True)), parent=parent, timeout=service.settings.timeout, version=version,
        fired=fired,
    )  # fmt: skip


def reseeded(sampling: Sampling, row: int) -> Sampling:
    """The same with a seed of the row's own; the first row's is the one that was asked for."""
    return dataclasses.replace(sampling, seed=(sampling.seed or 0) + row)


def cancel(generations: Sequence[Generation]) -> None:
    """Free the rows of what nobody waits for any more."""
    for generation in generations:
        generation.cancel()


async def complete(request: Request, generations: Sequence[Generation]) -> list[Finished]:
    """All answers; if the client leaves before, their rows are freed. Raises what kept one from being completed."""
    results = asyncio.gather(*(generation.result() for generation in generations))
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({results, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not results.done():
            raise ApiError(LEFT, "the client closed the connection", code="client_left")
        return await results
    finally:
        leaving.cancel()
        cancel(generations)
        with suppress(asyncio.CancelledError, ErrataError):
            results.cancel()
            await results


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def merged(generations: Sequence[Generation]) -> AsyncIterator[tuple[int, Token | Finished]]:
    """Tokens of all answers as they come, with the number of theirs, and each one's end. Frees the rows on leaving."""
    arrived: asyncio.Queue[tuple[int, Token | Finished | Exception]] = asyncio.Queue()

    async def pump(number: int, generation: Generation) -> None:
        try:
            async for token in generation:
                arrived.put_nowait((number, token))
            arrived.put_nowait((number, await generation.result()))
        except Exception as error:
            arrived.put_nowait((number, error))

    pumps = [asyncio.create_task(pump(number, one)) for number, one in enumerate(generations)]
    left = len(pumps)
    try:
        while left:
            number, item = await arrived.get()
            if isinstance(item, Exception):
                raise item
            left -= isinstance(item, Finished)
            yield number, item
    finally:
        cancel(generations)
        for task in pumps:
            task.cancel()


def ordered(ended: Mapping[int, Finished]) -> list[Finished]:
    """Answers by their number, not by when they ended."""
    return [ended[number] for number in sorted(ended)]


async def events(chunks: AsyncIterator[dict[str, Any]]) -> AsyncIterator[bytes]:
    """Chunks as server-sent events. A failure after the first is the last of them: the status was sent long ago."""
    try:
        async for chunk in chunks:
            yield _event(chunk)
    except Exception as error:
        yield _event(explained(error).body)
    else:
        yield b"data: [DONE]\n\n"


def _event(value: Any) -> bytes:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n".encode()


def identity(prefix: str) -> dict[str, Any]:
    """A fresh id and the time."""
    return {"id": f"{prefix}-{secrets.token_hex(12)}", "created": int(time.time())}


def usage(answers: Sequence[Finished], times: int) -> dict[str, int]:
    """Tokens used: every prompt was read once, though it may have several answers."""
    read = sum(answer.prompt_tokens for answer in answers[::times])
    written = sum(answer.completion_tokens for answer in answers)
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def errata(answers: Sequence[Finished]) -> dict[str, Any]:
    """What Errata adds: the head that answered, and which edits did."""
    edits = [
        {
            "id": f.edit, "index": index, "layer": f.layer, "position": f.position,
            "distance": f.distance, "radius": f.radius,
        }
        for index, answer in enumerate(answers)
        for f in answer.fired
    ]  # fmt: skip
    newest = max(answers, key=lambda answer: answer.version)
    return {"head": newest.version, "edits": edits, "weight_edits": newest.weight_edits}


def headers(answers: Sequence[Finished]) -> dict[str, str]:
    """The same in short."""
    told = errata(answers)
    ids = dict.fromkeys(quote(edit["id"], safe="") for edit in told["edits"])
    return {"X-Errata-Head": str(told["head"]), "X-Errata-Edits": ",".join(ids)}


def spoken(logprob: float | None) -> float:
    """A log-probability that JSON can hold."""
    return IMPOSSIBLE if logprob is None else max(logprob, IMPOSSIBLE)
