"""Corrections over HTTP on a real server: who may, live at once, refused by a gate, taken back, and what they moved."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import pytest

from errata.cli import main
from errata.serve.api.edits import _gate
from errata.serve.api.security import Caller
from errata.serve.service import Service
from errata.serve.settings import Settings
from serving import PROMPT, Reply, Running, until

NEIGHBOUR = "The mother tongue of Go Hyeon-jeong is"
NEAR = "The native language of Danielle Darrieux is"
WIDE = {"radius": 12.0}  # a ball in which the state of NEAR lies too


def body(target: str = "English", prompt: str = PROMPT, **more: Any) -> dict[str, Any]:
    edit = {"prompt": prompt, "target": target, "locality": [{"prompt": NEIGHBOUR}]}
    return {"edits": [edit | more.pop("edit", {})], "method": "grace", **more}


def make(server: Running, **more: Any) -> Reply:
    return server.call("POST", "/v1/edits", body(**more), "editor")


def events(server: Running) -> int:
    return len(server.service.follower.sheet.events())


@pytest.fixture
def made(server: Running) -> Any:
    """An edit that is live; taken back afterwards."""
    reply = make(server)
    assert reply.status == 200, reply.body
    yield reply.body
    server.call("DELETE", f"/v1/edits/{reply.body['ids'][0]}", key="editor")


WRITES = (
    ("POST", "/v1/edits", body()), ("DELETE", "/v1/edits/e1", None), ("POST", "/v1/edits/e1/redo", None),
    ("POST", "/v1/undo", {"ids": ["e1"]}), ("POST", "/v1/redo", {"ids": ["e1"], "dry_run": True}),
    ("POST", "/v1/probes", {"probes": [{"prompt": "x"}]}), ("DELETE", "/v1/probes/x", None),
)  # fmt: skip


@pytest.mark.parametrize(("method", "path", "asked"), WRITES)
@pytest.mark.parametrize(
    ("key", "status", "told"), [(None, 401, "a key"), ("unknown", 401, "know"), ("asker", 403, "ask")]
)
def test_changes_need_a_key_that_allows_them(
    server: Running, method: str, path: str, asked: Any, key: str | None, status: int, told: str
) -> None:
    before = events(server)
    reply = server.call(method, path, asked, key)
    assert (reply.status, events(server)) == (status, before)
    assert told in reply.error["message"]


def test_an_edit_is_live_when_its_request_returns(server: Running, made: Any) -> None:
    (result,) = made["results"]
    assert (result["status"], made["dry_run"], made["head"]) == ("done", False, events(server))
    assert (made["before"], made["after"]) == (["French"], ["English"])
    assert (server.say(), server.say(model="lab:gpt")) == ("English", "French")
    answer = server.client().completions.with_raw_response.create(model=server.model, prompt=PROMPT, temperature=0)
    assert answer.headers["X-Errata-Head"] == str(made["head"])
    assert answer.headers["X-Errata-Edits"] == result["id"]
    told = answer.parse().model_extra["errata"]  # type: ignore[index]
    fired = told["edits"][0]
    assert (told["head"], fired["id"], fired["index"]) == (made["head"], result["id"], 0)
    assert fired["distance"] <= fired["radius"]


def test_what_an_edit_does_and_who_made_it(server: Running, made: Any) -> None:
    id = made["ids"][0]
    told = server.call("GET", f"/v1/edits/{id}/effects").body
    assert (told["before"], told["after"], told["together"]) == ("French", "English", [id])
    (neighbour,) = told["locality"]
    assert (neighbour["prompt"], neighbour["moved"]) == (NEIGHBOUR, False)
    explained = server.call("POST", "/v1/explain", {"prompt": PROMPT}).body
    assert (explained["answer"], explained["before"]) == ("English", "French")
    firing = explained["firings"][0]
    assert (firing["edit"], firing["edit_prompt"], firing["target"]) == (id, PROMPT, "English")
    (again,) = told["fired"]
    assert again | {"distance": firing["distance"]} == firing
    assert again["distance"] == pytest.approx(firing["distance"], abs=1e-4)
    row = server.call("GET", f"/v1/edits/{id}").body
    assert (row["status"], row["who"], row["method"]) == ("active", "editor", "grace")
    active = server.call("GET", "/v1/edits?status=active").body["data"]
    assert [edit["id"] for edit in active] == [id]
    newest = server.call("GET", "/v1/edits?order=desc&limit=2").body["data"]
    assert newest[0]["id"] == id
    following = server.call("GET", f"/v1/edits?order=desc&limit=1&after={id}").body["data"]
    assert following == newest[1:]
    event = server.call("GET", f"/v1/journal?after={made['head'] - 1}").body["data"][0]
    assert (event["seq"], event["kind"], event["who"]) == (made["head"], "apply", "editor")


def test_undo_and_redo_are_live_and_recorded(server: Running, made: Any) -> None:
    id = made["ids"][0]
    assert server.call("DELETE", f"/v1/edits/{id}", key="editor").body["changed"] == [id]
    assert server.say() == "French"
    again = server.call("DELETE", f"/v1/edits/{id}", key="editor").body
    assert (again["changed"], again["unchanged"]) == ([], {id: "undone"})
    assert server.call("POST", f"/v1/edits/{id}/redo", key="editor").body["changed"] == [id]
    assert server.say() == "English"
    assert [event["kind"] for event in server.call("GET", "/v1/journal").body["data"]][-2:] == ["undo", "redo"]


def test_many_edits_are_taken_back_and_brought_back_in_one_event(server: Running, made: Any) -> None:
    other = make(server, prompt=NEIGHBOUR).body
    ids = [*made["ids"], *other["ids"]]
    trial = server.call("POST", "/v1/undo", {"ids": ids, "dry_run": True}, "editor").body
    assert (trial["changed"], trial["dry_run"], trial["head"]) == (ids, True, other["head"])
    assert (events(server), server.say(NEIGHBOUR)) == (other["head"], "English")
    unknown = server.call("POST", "/v1/undo", {"ids": [*ids, "e999"]}, "editor")
    assert (unknown.status, unknown.error["code"], events(server)) == (404, "edit_not_found", other["head"])
    done = server.call("POST", "/v1/undo", {"ids": ids}, "editor").body
    assert (done["changed"], done["dry_run"], done["head"]) == (ids, False, other["head"] + 1)
    assert events(server) == other["head"] + 1
    assert "English" not in (server.say(), server.say(NEIGHBOUR))
    event = server.call("GET", f"/v1/journal?after={other['head']}").body["data"][0]
    assert (event["kind"], event["payload"]["ids"]) == ("undo", ids)
    again = server.call("POST", "/v1/redo", {"ids": ids}, "editor").body
    assert (again["changed"], server.say(), server.say(NEIGHBOUR)) == (ids, "English", "English")
    server.call("DELETE", f"/v1/edits/{other['ids'][0]}", key="editor")


def test_the_figures_of_evaluations_are_kept(server: Running, made: Any) -> None:
    known = server.call("GET", "/v1/evaluations").body["data"]
    report = server.call("POST", "/v1/evaluate", {"metrics": ["reliability"]}).body
    rows = server.call("GET", "/v1/evaluations").body["data"]
    assert rows[:-1] == known
    assert rows[-1] == {name: report[name] for name in ("head", "edits", "figures")} | {"time": rows[-1]["time"]}
    assert rows[-1]["figures"]["reliability"]["value"] == 1
    server.call("POST", "/v1/evaluate", {"metrics": ["reliability"]})
    newest = server.call("GET", "/v1/evaluations?limit=1").body
    assert (len(newest["data"]), newest["has_more"]) == (1, True)
    lines = (server.sheet / "evaluations.jsonl").read_text().splitlines()
    assert len(lines) == len(rows) + 1


def test_a_dry_run_shows_everything_and_leaves_nothing(server: Running) -> None:
    before = events(server)
    told = make(server, dry_run=True, edit={"rephrases": ["Danielle Darrieux is a native speaker of"]}).body
    (effects,) = told["effects"]
    assert (effects["before"], effects["after"]) == ("French", "English")
    assert [row["prompt"] for row in effects["rephrases"]] == ["Danielle Darrieux is a native speaker of"]
    firing = effects["fired"][0]
    assert (firing["edit"], firing["edit_prompt"], firing["target"]) == (told["ids"][0], PROMPT, "English")
    assert (firing["token"], firing["distance"] <= firing["radius"]) == (" is", True)
    assert (told["head"], events(server), server.say()) == (before, before, "French")


def test_a_gate_refuses_an_edit_that_moves_too_much(server: Running) -> None:
    before = events(server)
    reply = make(server, gate="locality>=0.99", options=WIDE, edit={"locality": [{"prompt": NEAR}]})
    assert (reply.status, reply.error["code"]) == (409, "gate")
    assert reply.error["gate"][0]["passed"] is False
    (moved,) = [row for row in reply.error["probes"] if row["prompt"] == NEAR]
    assert (moved["moved"], moved["after"]) == (True, "English")
    assert (events(server), server.say(), server.say(NEAR)) == (before, "French", "French")
    passed = make(server, gate="locality>=0.99,reliability>=1", dry_run=True)
    assert [verdict["passed"] for verdict in passed.body["gate"]] == [True, True]


def test_a_gate_asks_the_probes_of_the_sheet(server: Running) -> None:
    probe = {"prompt": NEAR, "answer": server.say(NEAR), "kind": "upstream", "about": "tongue"}
    (added,) = server.call("POST", "/v1/probes", {"probes": [probe]}, "editor").body["data"]
    assert added == {"id": added["id"], "messages": None, "raw": False, **probe}
    assert added in server.call("GET", "/v1/probes").body["data"]
    try:
        reply = make(server, gate="drawdown<=0", options=WIDE, edit={"locality": []})
        assert (reply.status, [row["prompt"] for row in reply.error["probes"]][-1]) == (409, NEAR)
        figures = server.call("POST", "/v1/evaluate").body["figures"]
        assert figures["drawdown"]["value"] == 0
    finally:
        assert server.call("DELETE", f"/v1/probes/{added['id']}", key="editor").body == added
    unasked = make(server, gate="drawdown<=0", edit={"locality": []})
    assert (unasked.status, "not measured" in unasked.error["message"]) == (409, True)


@pytest.mark.parametrize(
    ("asked", "status", "told"),
    [
        ({"edits": []}, 400, "edits"),
        ({"edits": [{"prompt": "x"}]}, 400, "target"),
        ({"edits": [{"prompt": " ", "target": "x"}]}, 400, "empty"),
        ({"edits": [{"prompt": "x", "target": "y"}] * 2}, 400, "same prompt"),
        ({"edits": [{"prompt": "x", "target": "y", "subject": "z"}]}, 400, "subject"),
        ({"edits": [{"prompt": "x", "target": "y", "sujet": "z"}]}, 400, "sujet"),
        (body(prompt="word " * 2000), 400, "tokens"),
        (body(method="grece"), 400, "Did you mean 'grace'"),
        (body(options={"radios": 1}), 400, "Did you mean 'radius'"),
        (body(options={"radius": "wide"}), 400, "number"),
        (body(gate="locality"), 400, "condition"),
        (body(gate="locallity>=1"), 400, "Did you mean 'locality'"),
        (body(gate="perplexity<=1"), 400, "texts"),
        (body(dry_run="yes"), 400, "dry_run"),
    ],
)
def test_edits_that_make_no_sense_are_refused(server: Running, asked: Any, status: int, told: str) -> None:
    before = events(server)
    reply = server.call("POST", "/v1/edits", asked, "editor")
    assert (reply.status, events(server)) == (status, before), reply.body
    assert told in reply.error["message"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/edits/e999"), ("DELETE", "/v1/edits/e999"), ("POST", "/v1/edits/e999/redo"),
        ("GET", "/v1/edits/e999/effects"), ("GET", "/v1/edits?after=e999"), ("DELETE", "/v1/probes/e999"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_not_found(server: Running, method: str, path: str) -> None:
    assert server.call(method, path, key="editor").status == 404


@pytest.mark.parametrize(
    "path", ["/v1/edits?limit=0", "/v1/edits?status=lost", "/v1/edits?order=up", "/v1/journal?after=x"]
)
def test_wrong_queries_are_bad_requests(server: Running, path: str) -> None:
    assert server.call("GET", path).status == 400


def test_methods_come_with_the_schema_of_their_options(server: Running) -> None:
    told = server.call("GET", "/v1/methods").body
    rows = {row["name"]: row for row in told["data"]}
    assert told["default"] in rows
    radius = rows["grace"]["schema"]["properties"]["radius"]
    assert radius["description"]
    assert "default" in radius


def test_what_the_command_line_records_is_live_too(server: Running, made: Any) -> None:
    id = made["ids"][0]
    assert main(["undo", id, "--sheet", str(server.sheet)]) == 0
    assert until(lambda: server.service.engine.head > made["head"]) < 1
    assert server.say() == "French"


def test_a_worker_killed_under_a_change_is_replaced_and_nothing_is_half_done(server: Running) -> None:
    before, desk, replies = events(server), server.service.desk, list[Reply]()
    slow = {"steps": 1_000_000, "lr": 1e-9}
    asking = threading.Thread(target=lambda: replies.append(make(server, options=slow)))
    asking.start()
    until(lambda: desk.waiting > 0)
    pid = desk.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    asking.join()
    assert (replies[0].status, replies[0].error["code"]) == (503, "worker_died")
    assert (events(server), server.say()) == (before, "French")
    reply = make(server)
    assert (reply.status, server.say(), desk.deaths) == (200, "English", 1)
    server.call("DELETE", f"/v1/edits/{reply.body['ids'][0]}", key="editor")


def test_an_admin_may_replace_the_gate_of_the_server_and_others_add_to_it(tmp_path: Any) -> None:
    service = Service(Settings(sheet=tmp_path, gate="locality>=1"))
    assert _gate(service, None, Caller("a", "edit")) == "locality>=1"
    assert _gate(service, "drawdown<=0", Caller("a", "edit")) == "locality>=1,drawdown<=0"
    assert _gate(service, "drawdown<=0", Caller("a", "admin")) == "drawdown<=0"
