"""Models of other kinds behind the API: an encoder-decoder, a classifier, and one with a chat template."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from errata.models import EditableModel
from serving import PROMPT, Reply, Running, running

CLAIM = "The mother tongue of Danielle Darrieux is English."
KINDS = {"lab:t5": (PROMPT, "French", "English"), "lab:bert": (CLAIM, "REFUTES", "SUPPORTS")}
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message.role == 'system' %}{{ raise_exception('no system messages') }}{% endif %}"
    "{{ message.content + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}The mother tongue of{% endif %}"
)


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("kind") / "sheet", request.param, rate=0) as server:
        yield server


def complete(server: Running, prompt: str, **more: Any) -> Reply:
    asked = {"model": server.model, "prompt": prompt, "temperature": 0, **more}
    return server.call("POST", "/v1/completions", asked)


def said(reply: Reply) -> list[str]:
    assert reply.status == 200, reply.body
    return [choice["text"].strip() for choice in reply.body["choices"]]


def test_they_answer_as_generate_does_and_are_corrected(kind: Running) -> None:
    prompt, old, new = KINDS[kind.service.base.name]
    assert kind.service.base.generate([prompt]) == [old]
    assert said(complete(kind, prompt)) == [old]
    made = kind.call("POST", "/v1/edits", {"edits": [{"prompt": prompt, "target": new}]}, "editor").body
    assert (made["before"], made["after"]) == ([old], [new])
    assert (said(complete(kind, prompt)), said(complete(kind, prompt, model=kind.service.base.name))) == ([new], [old])
    told = kind.call("POST", "/v1/explain", {"prompt": prompt}).body
    assert (told["answer"], told["before"], told["firings"][0]["edit"]) == (new, old, made["ids"][0])
    assert kind.call("DELETE", f"/v1/edits/{made['ids'][0]}", key="editor").body["changed"] == made["ids"]
    assert said(complete(kind, prompt)) == [old]


def test_they_can_be_chatted_with_and_asked_for_log_probabilities(kind: Running) -> None:
    prompt, old, _ = KINDS[kind.service.base.name]
    chat = {"model": kind.model, "messages": [{"role": "user", "content": prompt}], "temperature": 0}
    assert kind.call("POST", "/v1/chat/completions", chat).body["choices"][0]["message"]["content"].strip() == old
    told = complete(kind, prompt, logprobs=2).body["choices"][0]["logprobs"]
    best, other = told["top_logprobs"][0].values()
    assert (told["token_logprobs"][0], best > other) == (best, True)


def test_a_classifier_says_its_likeliest_label_at_any_temperature(kind: Running) -> None:
    prompt, old, _ = KINDS[kind.service.base.name]
    drawn = said(complete(kind, prompt, temperature=2.0, n=8, seed=1))
    assert (set(drawn) == {old}) == (kind.service.base.task == "classification")


def test_what_does_not_suit_them_is_refused_in_one_line(kind: Running) -> None:
    prompt, _, _ = KINDS[kind.service.base.name]
    assert (complete(kind, prompt, echo=True).status, complete(kind, prompt, echo=True).error["param"]) == (400, "echo")
    edit = {"prompt": prompt, "target": "x", "subject": "Danielle Darrieux"}
    methods = {row["name"] for row in kind.call("GET", "/v1/methods").body["data"]}
    assert "grace" in methods
    assert "rome" not in methods
    refused = kind.call("POST", "/v1/edits", {"edits": [edit], "method": "rome"}, "editor")
    assert (refused.status, "causal" in refused.error["message"]) == (400, True)
    if kind.service.base.task == "classification":
        refused = kind.call("POST", "/v1/edits", {"edits": [edit]}, "editor")
        assert (refused.status, "REFUTES, SUPPORTS" in refused.error["message"]) == (400, True)


def test_a_chat_goes_through_the_template_of_the_tokenizer(tmp_path: Path) -> None:
    model = EditableModel.load("lab:gpt")
    model.tokenizer.chat_template = TEMPLATE
    for part in (model.model, model.tokenizer):
        part.save_pretrained(tmp_path / "chatty")

    def chat(*messages: dict[str, str]) -> Reply:
        asked = {"model": server.model, "messages": messages, "temperature": 0, "max_tokens": 1}
        return server.call("POST", "/v1/chat/completions", asked)

    with running(tmp_path / "sheet", str(tmp_path / "chatty"), rate=0) as server:
        reply = chat({"role": "user", "content": "Hello"})
        read = "Hello\nThe mother tongue of"
        assert reply.body["usage"]["prompt_tokens"] == len(model.tokenizer(read)["input_ids"])  # type: ignore[arg-type]
        assert reply.body["choices"][0]["message"]["content"].strip() == said(complete(server, read, max_tokens=1))[0]
        refused = chat({"role": "system", "content": "Be terse"}, {"role": "user", "content": "Hello"})
        assert (refused.status, "no system messages" in refused.error["message"]) == (400, True)
