"""OpenAI's own client against a served sheet: completions, chats, streams, and everything that is refused."""

from __future__ import annotations

import json
import socket
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest

from serving import PROMPT, Running, until

OTHER = "The mother tongue of Go Hyeon-jeong is"


def test_the_sheet_comes_first_and_its_parent_second(server: Running) -> None:
    client = server.client()
    served, parent = list(client.models.list())
    assert (served.id, parent.id) == ("lab:gpt@sheet", "lab:gpt")
    assert client.models.retrieve("lab:gpt@sheet").id == "lab:gpt@sheet"
    with pytest.raises(openai.NotFoundError, match="not served here"):
        client.models.retrieve("gpt-5")


def test_a_greedy_completion_is_what_the_model_generates(server: Running) -> None:
    client, base = server.client(), server.service.base
    made = client.completions.create(model=server.model, prompt=[PROMPT, OTHER], temperature=0, max_tokens=24)
    assert [choice.text.strip() for choice in made.choices] == base.generate([PROMPT, OTHER])
    assert [choice.index for choice in made.choices] == [0, 1]
    lengths = [len(base.tokenizer(text)["input_ids"]) for text in (PROMPT, OTHER)]  # type: ignore[arg-type]
    assert made.usage
    assert made.usage.prompt_tokens == sum(lengths)
    assert made.usage.total_tokens == made.usage.prompt_tokens + made.usage.completion_tokens
    assert made.model_extra
    assert made.model_extra["errata"] == {"head": server.service.engine.head, "edits": [], "weight_edits": 0}


def test_prompts_may_be_token_ids(server: Running) -> None:
    ids: Any = server.service.base.tokenizer([PROMPT, OTHER])["input_ids"]
    client = server.client()
    one = client.completions.create(model=server.model, prompt=ids[0], temperature=0, echo=True)
    two = client.completions.create(model=server.model, prompt=ids, temperature=0)
    assert one.choices[0].text == PROMPT + two.choices[0].text
    assert len(two.choices) == 2


def test_n_answers_to_each_prompt_repeat_with_the_seed_and_differ_among_themselves(server: Running) -> None:
    client = server.client()

    def drawn(seed: int) -> list[str]:
        made = client.completions.create(model=server.model, prompt=[PROMPT, OTHER], n=4, seed=seed, temperature=2)
        assert [choice.index for choice in made.choices] == list(range(8))
        return [choice.text for choice in made.choices]

    assert drawn(1) == drawn(1)
    assert len(set(drawn(1))) > 2
    assert drawn(1) != drawn(2)


def test_a_stop_text_ends_an_answer_and_max_tokens_cuts_it(server: Running) -> None:
    client = server.client()
    stopped = client.completions.create(model=server.model, prompt=PROMPT, temperature=0, stop="ench").choices[0]
    assert (stopped.text.strip(), stopped.finish_reason) == ("Fr", "stop")
    cut = client.completions.create(model=server.model, prompt=PROMPT, temperature=2, seed=5, max_tokens=1).choices[0]
    assert cut.finish_reason in ("length", "stop")


def test_logprobs_of_completions(server: Running) -> None:
    made = server.client().completions.create(model=server.model, prompt=PROMPT, temperature=0, logprobs=3).choices[0]
    assert made.logprobs
    assert made.logprobs.tokens
    assert "".join(made.logprobs.tokens) == made.text
    assert made.logprobs.token_logprobs
    assert made.logprobs.top_logprobs
    best = made.logprobs.top_logprobs[0]
    assert len(best) == 3
    assert made.logprobs.token_logprobs[0] == max(best.values()) < 0
    assert made.logprobs.text_offset
    assert made.logprobs.text_offset[0] == 0


def test_a_stream_gives_the_same_text_piece_by_piece(server: Running) -> None:
    client = server.client()
    whole = client.completions.create(model=server.model, prompt=[PROMPT, OTHER], temperature=0)
    texts, reasons, last = ["", ""], [None, None], None
    options: Any = {"include_usage": True}
    stream = client.completions.create(
        model=server.model, prompt=[PROMPT, OTHER], temperature=0, stream=True, stream_options=options
    )
    for last in stream:
        for choice in last.choices:
            texts[choice.index] += choice.text
            reasons[choice.index] = choice.finish_reason or reasons[choice.index]  # type: ignore[call-overload]
    assert texts == [choice.text for choice in whole.choices]
    assert reasons == [choice.finish_reason for choice in whole.choices]
    assert last is not None
    assert last.usage == whole.usage
    assert last.model_extra
    assert last.model_extra["errata"]["head"] == server.service.engine.head


def test_a_chat_without_a_template_goes_on_with_the_texts(server: Running) -> None:
    client = server.client()
    messages: Any = [{"role": "user", "content": [{"type": "text", "text": PROMPT}]}]
    made = client.chat.completions.create(
        model=server.model, messages=messages, temperature=0, logprobs=True, top_logprobs=2
    ).choices[0]
    assert made.message.content
    assert made.message.content.strip() == "French"
    assert made.logprobs
    assert made.logprobs.content
    assert "".join(token.token for token in made.logprobs.content) == made.message.content
    assert len(made.logprobs.content[0].top_logprobs) == 2
    stream = client.chat.completions.create(model=server.model, messages=messages, temperature=0, stream=True)
    chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == made.message.content
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert chunks[-1].model_extra
    assert "errata" in chunks[-1].model_extra


ASK = {"model": "lab:gpt", "prompt": PROMPT, "temperature": 0}
CHAT = {"model": "lab:gpt", "messages": [{"role": "user", "content": PROMPT}]}


@pytest.mark.parametrize(
    ("path", "body", "status", "told"),
    [
        ("completions", b'{"model": ', 400, "no valid JSON"),
        ("completions", b"\xff\xfe", 400, ""),
        ("completions", [], 400, "body"),
        ("completions", {"model": "lab:gpt"}, 400, "prompt"),
        ("completions", {**ASK, "model": "gpt-5"}, 404, "lab:gpt@sheet"),
        ("completions", {**ASK, "prompt": ""}, 400, "prompt"),
        ("completions", {**ASK, "prompt": []}, 400, "prompt"),
        ("completions", {**ASK, "prompt": [1, "two"]}, 400, "prompt"),
        ("completions", {**ASK, "prompt": [10**9]}, 400, "token ids"),
        ("completions", {**ASK, "prompt": "\ud800"}, 400, "prompt"),
        ("completions", {**ASK, "prompt": "word " * 2000}, 400, "tokens"),
        ("completions", {**ASK, "prompt": "x" * 100_000}, 413, "larger"),
        ("completions", {**ASK, "max_tokens": "5"}, 400, "max_tokens"),
        ("completions", {**ASK, "max_tokens": 0}, 400, "max_tokens"),
        ("completions", {**ASK, "temperature": 3}, 400, "temperature"),
        ("completions", {**ASK, "n": 100, "prompt": ["a", "b"]}, 400, "n = 100"),
        ("completions", {**ASK, "stop": ""}, 400, "stop"),
        ("completions", {**ASK, "best_of": 2}, 400, "best_of"),
        ("completions", {**ASK, "suffix": "x"}, 400, "suffix"),
        ("completions", {**ASK, "logit_bias": {"5": 1}}, 400, "logit_bias"),
        ("completions", {**ASK, "top_k": 5}, 400, "top_k"),
        ("completions", {**ASK, "echo": True, "logprobs": 1}, 400, "echo"),
        ("chat/completions", {**CHAT, "messages": []}, 400, "messages"),
        ("chat/completions", {**CHAT, "messages": [{"role": "robot", "content": "x"}]}, 400, "role"),
        ("chat/completions", {**CHAT, "messages": [{"role": "user", "content": 5}]}, 400, "content"),
        ("chat/completions", {**CHAT, "tools": []}, 400, "tools"),
        ("chat/completions", {**CHAT, "top_logprobs": 2}, 400, "logprobs"),
        ("explain", {"prompt": ""}, 400, "prompt"),
        ("nothing", {}, 405, "/docs"),
        ("models", {}, 405, "method"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(
    server: Running, path: str, body: Any, status: int, told: str
) -> None:
    reply = server.call("POST", f"/v1/{path}", body)
    assert reply.status == status, reply.body
    assert set(reply.error) == {"message", "type", "param", "code"}
    assert told in reply.error["message"]
    assert "\n" not in reply.error["message"]


def test_a_body_that_does_not_say_how_long_it_is_is_cut_off_too(server: Running) -> None:
    place = urlsplit(server.url)
    with socket.create_connection((place.hostname or "", place.port or 0), timeout=60) as opened:
        opened.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n")
        opened.sendall(b"Content-Type: application/json\r\n\r\n")
        for _ in range(3):
            opened.sendall(b"c350\r\n" + b" " * 50_000 + b"\r\n")
        opened.sendall(b"0\r\n\r\n")
        assert opened.recv(1000).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_left_frees_its_rows(server: Running, stream: bool) -> None:
    place, engine = urlsplit(server.url), server.service.engine
    body = json.dumps({**ASK, "n": 64, "temperature": 2, "max_tokens": 1000, "stream": stream}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    tokens = engine.stats().tokens
    with socket.create_connection((place.hostname or "", place.port or 0)) as opened:
        opened.sendall(head.replace(b"\r\n\r\n", b"\r\nContent-Type: application/json\r\n\r\n") + body)
        until(lambda: engine.stats().tokens > tokens)
    until(lambda: not engine.stats().running and not engine.stats().waiting)
    assert 'errata_answers_total{outcome="Cancelled"}' in server.call("GET", "/metrics").body


def test_every_answer_carries_an_id_and_headers_that_keep_browsers_safe(server: Running) -> None:
    reply = server.call("GET", "/v1/models", **{"X-Request-Id": "mine-1"})
    headers = {name.lower(): value for name, value in reply.headers.items()}
    assert headers["x-request-id"] == "mine-1"
    assert headers["x-errata-head"] == str(server.service.engine.head)
    assert "default-src 'self'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert "set-cookie" not in headers
    other = server.call("GET", "/v1/models", **{"X-Request-Id": "two words\u00e9"})
    assert len(other.headers["x-request-id"]) == 16


def test_pages_of_others_and_other_names_are_refused(server: Running) -> None:
    assert server.call("POST", "/v1/completions", ASK, Host="evil.example").error["code"] == "host"
    assert server.call("POST", "/v1/completions", ASK, Origin="http://evil.example").error["code"] == "origin"
    assert server.call("POST", "/v1/completions", ASK, Origin=server.url).status == 200


def test_a_server_that_cannot_be_corrected_yet_answers_and_is_not_ready(server: Running) -> None:
    server.service.ready = False  # as while the worker is starting
    try:
        reply = server.call("GET", "/readyz")
        assert (reply.status, "worker" in reply.error["message"]) == (503, True)
        assert server.say() == "French"
    finally:
        server.service.ready = True


def test_pages_for_people_and_machines(server: Running) -> None:
    assert "<title>Errata console</title>" in server.call("GET", "/").body
    assert "/v1/edits/{id}/effects" in server.call("GET", "/docs").body
    assert "<script" not in server.call("GET", "/docs").body
    assert server.call("GET", "/openapi.json").body["info"]["title"] == "Errata"
    assert server.call("GET", "/readyz").body == server.call("GET", "/healthz").body == {"status": "ok"}
    text = server.call("GET", "/metrics").body
    for name in ("errata_tokens_total", "errata_batch_rows_bucket", "errata_head", "errata_http_seconds_bucket"):
        assert name in text
