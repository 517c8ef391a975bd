"""A chat model is corrected where people talk to it: the same messages get the corrected answer from then on."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from chatty import QUESTION, RAW, TALK, save_chat_model
from errata.edits import Edit
from errata.journal.events import Event
from errata.serve.service import _saved
from serving import PATIENCE, Reply, Running, running


@pytest.fixture(scope="module")
def chatty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("chatty")
    save_chat_model(folder / "model")
    with running(folder / "sheet", str(folder / "model"), rate=0) as server:
        yield server


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def chat(server: Running, messages: Any, **more: Any) -> str:
    """The greedy answer, whole and in a stream, which must agree."""
    asked: Any = {"model": server.model, "messages": messages, "temperature": 0, "max_tokens": 24, **more}
    client = server.client()
    whole = client.chat.completions.create(**asked).choices[0].message.content or ""
    stream = client.chat.completions.create(**asked, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == whole
    return whole.strip()


def make(server: Running, edit: dict[str, Any], **more: Any) -> Reply:
    return server.call("POST", "/v1/edits", {"edits": [edit], **more}, "editor")


def undo(server: Running, id: str) -> None:
    server.call("DELETE", f"/v1/edits/{id}", key="editor")


@pytest.mark.parametrize(
    ("asked", "messages"), [({"prompt": QUESTION}, user(QUESTION)), ({"messages": TALK}, TALK)], ids=["prompt", "talk"]
)
def test_the_same_messages_get_the_corrected_answer(chatty: Running, asked: Any, messages: Any) -> None:
    before = chat(chatty, messages)
    reply = make(chatty, {**asked, "target": "Rome"})
    assert reply.status == 200, reply.body
    (result,) = reply.body["results"]
    id = result["id"]
    try:
        assert (result["status"], result["target"], result["prompt"]) == ("done", "Rome", QUESTION)
        assert result["messages"] == messages
        assert before.startswith(result["was"]) or result["was"].startswith(before)
        assert reply.body["after"] == ["Rome"]
        assert chat(chatty, messages) == "Rome"
        assert chat(chatty, messages, model=chatty.service.names[1]) == before
        row = chatty.call("GET", f"/v1/edits/{id}").body
        assert (row["prompt"], row["messages"], row["edit"]["messages"]) == (QUESTION, messages, messages)
        told = chatty.call("POST", "/v1/explain", asked).body
        assert (told["answer"], told["messages"], told["firings"][0]["edit"]) == ("Rome", messages, id)
        effects = chatty.call("GET", f"/v1/edits/{id}/effects").body
        assert (effects["after"], effects["messages"], effects["fired"][0]["edit"]) == ("Rome", messages, id)
    finally:
        undo(chatty, id)
    assert chat(chatty, messages) == before


def test_a_conversation_is_not_its_last_message(chatty: Running) -> None:
    first = make(chatty, {"messages": TALK, "target": "Rome"}).body["ids"][0]
    second = make(chatty, {"prompt": QUESTION, "target": "Bern", "locality": [{"messages": TALK}]}).body
    try:
        assert second["results"][0]["superseded"] == []
        assert (chat(chatty, TALK), chat(chatty, user(QUESTION))) == ("Rome", "Bern")
        told = chatty.call("GET", f"/v1/edits/{second['ids'][0]}/effects").body
        (other,) = told["neighbours"]
        assert (other["id"], other["messages"], other["after"]) == (first, TALK, "Rome")
        (kept,) = told["locality"]
        assert (kept["messages"], kept["moved"]) == (TALK, False)
        report = chatty.call("POST", "/v1/evaluate", {"metrics": ["reliability"]}).body
        asked = {answer["question"]["edit"]: answer["question"]["messages"] for answer in report["answers"]}
        assert asked == {first: TALK, second["ids"][0]: user(QUESTION)}
        assert report["figures"]["reliability"]["value"] == 1
    finally:
        undo(chatty, first)
        undo(chatty, second["ids"][0])


def test_a_raw_edit_is_of_the_plain_continuation(chatty: Running) -> None:
    (result,) = make(chatty, {"prompt": RAW, "target": "Rome", "raw": True}).body["results"]
    try:
        assert (result["status"], result["messages"]) == ("done", None)
        assert chatty.say(RAW) == "Rome"
        told = chatty.call("POST", "/v1/explain", {"prompt": RAW, "raw": True}).body
        assert (told["answer"], told["messages"]) == ("Rome", None)
        told = chatty.call("POST", "/v1/explain", {"prompt": RAW}).body
        assert (told["answer"] != "Rome", told["messages"]) == (True, user(RAW))
    finally:
        undo(chatty, result["id"])


def test_wrong_words_are_replaced_in_the_models_own_answer(chatty: Running) -> None:
    said = make(chatty, {"prompt": QUESTION, "target": "x"}, dry_run=True).body["results"][0]["was"]
    word = next(part for part in said.split() if part.isalpha())
    (result,) = make(chatty, {"prompt": QUESTION, "replace": {word: "Rome"}}, dry_run=True).body["results"]
    assert (result["was"], "Rome" in result["target"], word in said) == (said, True, True)
    refused = make(chatty, {"prompt": QUESTION, "replace": {"certainly not said": "Rome"}})
    assert (refused.status, refused.error["param"]) == (400, "edits.0.replace")
    assert repr(said) in refused.error["message"]


def test_probes_are_asked_as_the_sheet_reads_them(chatty: Running) -> None:
    asked = [{"prompt": "Who wrote the book?"}, {"messages": TALK}, {"prompt": "Who wrote the book?", "raw": True}]
    added = chatty.call("POST", "/v1/probes", {"probes": asked}, "editor").body["data"]
    made = make(chatty, {"prompt": QUESTION, "target": "Rome"}, dry_run=True).body
    told = [(row["prompt"], row["messages"]) for row in made["effects"][0]["neighbours"]]
    assert told == [(asked[0]["prompt"], user("Who wrote the book?")), (QUESTION, TALK), (asked[0]["prompt"], None)]
    assert len({row["id"] for row in added}) == 3
    assert chatty.call("GET", "/v1/probes").body["data"] == added
    for row in added:
        assert chatty.call("DELETE", f"/v1/probes/{row['id']}", key="editor").status == 200


SAID = {"role": "assistant", "content": "Paris."}
CALL = {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}


@pytest.mark.parametrize(
    ("edit", "param", "told"),
    [
        ({"messages": [{"role": "robot", "content": "x"}]}, "edits.0.messages", "'robot'"),
        ({"messages": [{"role": "user", "content": " "}]}, "edits.0.messages", "empty"),
        ({"messages": [*TALK, SAID]}, "edits.0.messages", "end with the user's message"),
        ({"messages": [*TALK, CALL]}, "edits.0.messages", "tool"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "edits.0.messages", "tool"),
        ({"messages": []}, "edits.0.messages", "empty"),
        ({"messages": TALK, "prompt": "x"}, "edits.0.messages", "a prompt and messages"),
        ({}, "edits.0.messages", "neither a prompt nor messages"),
        ({"messages": TALK, "raw": True}, "edits.0.raw", "cannot be raw"),
        ({"prompt": "x", "replace": {"a": "b"}}, "edits.0.replace", "a target and a replace"),
        ({"prompt": "x", "target": None}, "edits.0.replace", "neither a target nor a replace"),
        ({"prompt": "x", "target": None, "replace": {"a": "a"}}, "edits.0", "into itself"),
        ({"prompt": "x", "rephrases": [[SAID]]}, "edits.0.rephrases.0", "end with the user's message"),
        ({"prompt": "x", "locality": [{"messages": [SAID]}]}, "edits.0.locality.0.messages", "end with the user's"),
        ({"prompt": "x", "portability": [{"prompt": "y", "messages": TALK}]}, "edits.0.portability.0.messages", "both"),
    ],
)
def test_what_cannot_be_edited_is_refused_in_one_line(chatty: Running, edit: Any, param: str, told: str) -> None:
    reply = make(chatty, {"target": "Rome", **edit})
    assert (reply.status, reply.error["param"]) == (400, param), reply.body
    assert told.replace("both", "give one of them") in reply.error["message"]
    assert "\n" not in reply.error["message"]


def test_a_chat_takes_arguments_of_the_template(chatty: Running) -> None:
    def read(**more: Any) -> Reply:
        asked = {"model": chatty.model, "messages": user("Hello"), "max_tokens": 1, **more}
        return chatty.call("POST", "/v1/chat/completions", asked)

    plain, told = read(), read(chat_template_kwargs={"system": "Be terse."})
    assert told.body["usage"]["prompt_tokens"] > plain.body["usage"]["prompt_tokens"]
    own = read(chat_template_kwargs={"chat_template": "x"})
    assert (own.status, "chat_template" in own.error["message"]) == (400, True)
    refused = read(messages=user("Forbidden"))
    assert (refused.status, "no such thing" in refused.error["message"]) == (400, True)
    models = chatty.call("GET", "/v1/models").body["data"]
    assert [row["chat"] for row in models] == [True, True]


@pytest.mark.parametrize("how", ["header", "field"])
def test_progress_comes_as_events_and_the_result_last(chatty: Running, how: str) -> None:
    events = streamed(chatty, {"prompt": QUESTION, "target": "Rome"}, how, dry_run=True)
    names = [name for name, _ in events]
    assert (set(names[:-1]), names[-1]) == ({"progress"}, "result")
    assert {event["what"] for name, event in events if name == "progress"} >= {"waiting", "scoped"}
    assert set(events[0][1]) == {"what", "done", "total", "unit", "seconds", "eta"}
    assert events[-1][1]["results"][0]["target"] == "Rome"


def test_an_error_is_the_last_event(chatty: Running) -> None:
    events = streamed(chatty, {"prompt": QUESTION, "target": "Rome"}, "field", method="grece")
    assert [name for name, _ in events] == ["progress", "error"]
    assert "Did you mean 'grace'" in events[-1][1]["error"]["message"]
    refused = make(chatty, {"prompt": QUESTION}, stream=True)
    assert (refused.status, refused.error["param"]) == (400, "edits.0.replace")


def test_what_a_dead_worker_had_recorded_is_found_in_the_journal(chatty: Running) -> None:
    edit = {"prompt": QUESTION, "replace": {"Paris": "Rome"}, "target": "Rome is a city", "ground_truth": "Paris"}
    item = {"id": "e9", "status": "done", "edit": Edit.from_json(edit).as_chat().to_json()}
    stamp = {"time": "", "who": "", "method": "grace", "config": {}, "seed": None, "versions": {}}
    event = Event(seq=9, kind="apply", payload={"edits": [item], "figures": {}}, **stamp)

    def found(prompt: str) -> Any:
        asked = [{"prompt": prompt, "replace": {"Paris": "Rome"}}]
        return _saved("edit", {"edits": asked, "dry_run": False}, [event], chat=True)

    (result,) = found(QUESTION)["results"]
    assert (result["messages"], result["target"], result["was"]) == (user(QUESTION), "Rome is a city", "Paris")
    assert found("Hello") is None


@pytest.mark.slow
def test_a_real_model_is_corrected_in_chat(smollm2: Any, tmp_path: Any) -> None:
    with running(tmp_path / "sheet", "smollm2", rate=0) as server:
        assert "Paris" in chat(server, user(QUESTION))
        (result,) = make(server, {"prompt": QUESTION, "replace": {"Paris": "Lyon"}}).body["results"]
        assert (result["status"], "Lyon" in result["target"], "Paris" in result["was"]) == ("done", True, True)
        assert chat(server, user(QUESTION)) == result["target"]


def streamed(server: Running, edit: dict[str, Any], how: str, **more: Any) -> list[tuple[str, Any]]:
    """The events of an edit that was asked to be streamed."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {server.keys['editor']}"}
    body = {"edits": [edit], **more}
    if how == "header":
        headers["Accept"] = "text/event-stream"
    else:
        body["stream"] = True
    request = urllib.request.Request(f"{server.url}/v1/edits", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        parts = [part for part in answer.read().decode().split("\n\n") if part.startswith("event: ")]
    pairs = [part.removeprefix("event: ").split("\ndata: ") for part in parts]
    return [(name, json.loads(data)) for name, data in pairs]
