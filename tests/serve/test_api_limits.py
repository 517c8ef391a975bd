"""What bounds a server, over HTTP: its queue, callers' rates, time, clients that stop reading, and a full disk."""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from errata.serve.desk import probes
from errata.sheet import Sheet
from serving import PATIENCE, PROMPT, Reply, Running, running, until

ROWS, WAITING, BURST = 4, 16, 40
LONG = {"temperature": 2.0, "seed": 1, "max_tokens": 40}
OTHER = "The mother tongue of Go Hyeon-jeong is"
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux can limit the files of another process")


@pytest.fixture(scope="module")
def bounded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    sheet = tmp_path_factory.mktemp("bounded") / "sheet"
    with running(sheet, unread=4096, max_batch=ROWS, max_waiting=WAITING, rate=1.0, burst=BURST) as server:
        yield server


@contextmanager
def held(server: Running, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Inside, the engine stands after its next forward pass."""
    go_on = threading.Event()
    with monkeypatch.context() as patched:
        patched.setattr(server.service._hooks, "stepped", lambda rows, seconds: go_on.wait(PATIENCE))
        try:
            yield
        finally:
            go_on.set()


def beside(ask: Callable[[], Reply]) -> tuple[threading.Thread, list[Reply]]:
    """Ask in another thread."""
    replies = list[Reply]()
    thread = threading.Thread(target=lambda: replies.append(ask()))
    thread.start()
    return thread, replies


def complete(server: Running, **more: Any) -> Reply:
    asked = {"model": server.model, "prompt": PROMPT, "temperature": 0, "max_tokens": 24, **more}
    return server.call("POST", "/v1/completions", asked, "editor")


def correct(server: Running, prompt: str = PROMPT) -> Reply:
    asked = {"edits": [{"prompt": prompt, "target": "English"}], "method": "grace"}
    return server.call("POST", "/v1/edits", asked, "editor")


def idle(server: Running) -> bool:
    stats = server.service.engine.stats()
    return not (stats.running or stats.waiting)


# -- load -------------------------------------------------------------------------------------------------------------


def test_a_full_queue_is_429_and_takes_again_later(bounded: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = bounded.service.engine
    with held(bounded, monkeypatch):
        asking = [beside(lambda: complete(bounded, n=ROWS))]
        until(lambda: engine.stats().running == ROWS)
        asking.append(beside(lambda: complete(bounded, n=WAITING)))
        until(lambda: engine.stats().waiting == WAITING)
        refused = complete(bounded)
    assert (refused.status, refused.error["code"], refused.headers["retry-after"]) == (429, "busy", "1")
    for thread, replies in asking:
        thread.join(PATIENCE)
        assert {choice["text"].strip() for choice in replies[0].body["choices"]} == {"French"}
    assert complete(bounded).status == 200


def test_a_caller_that_asks_too_often_waits_and_others_do_not(bounded: Running) -> None:
    said = [bounded.call("GET", "/v1/models", key="asker") for _ in range(BURST)]
    while said[-1].status == 200:
        said.append(bounded.call("GET", "/v1/models", key="asker"))
    refused = said[-1]
    assert (refused.status, refused.error["code"], refused.headers["retry-after"]) == (429, "rate_limit", "1")
    assert bounded.call("GET", "/v1/models", key="root").status == 200
    assert bounded.call("GET", "/healthz", key="asker").status == 200
    assert until(lambda: bounded.call("GET", "/v1/models", key="asker").status == 200) < PATIENCE


def test_an_answer_that_takes_too_long_is_504(bounded: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded.service, "settings", replace(bounded.service.settings, timeout=0.2))
    with held(bounded, monkeypatch):
        thread, replies = beside(lambda: complete(bounded, **LONG))
        until(lambda: bounded.service.engine.stats().running == 1)
        thread.join(0.5)
        assert thread.is_alive(), "the engine stands, so that nobody looks at the clock"
    thread.join(PATIENCE)
    assert (replies[0].status, replies[0].error["code"]) == (504, "timeout")
    monkeypatch.undo()
    assert complete(bounded).status == 200


def test_a_client_that_stops_reading_holds_nobody_up(
    bounded: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "errata.serve.access")
    asked = {"model": bounded.model, "prompt": PROMPT, "n": WAITING, "stream": True, "logprobs": 20, **LONG}
    body, address, engine = json.dumps(asked).encode(), urlsplit(bounded.url), bounded.service.engine
    head = f"POST /v1/completions HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: application/json\r\n"
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect((address.hostname, address.port))
        with held(bounded, monkeypatch):
            deaf.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            until(lambda: engine.stats().running == ROWS)
            monkeypatch.setattr(bounded.service, "settings", replace(bounded.service.settings, timeout=1.0))
        until(lambda: "a client stopped reading" in caplog.messages)
        until(lambda: idle(bounded))
        monkeypatch.undo()
        assert complete(bounded).body["choices"][0]["text"].strip() == "French"


# -- a full disk ------------------------------------------------------------------------------------------------------


@contextmanager
def file_limit(pid: int, size: int) -> Iterator[None]:
    """Inside, a process can write nothing beyond so many bytes of a file, as if the disk were full there."""
    import resource

    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


@LINUX
@pytest.mark.parametrize("full", ["the patch file", "the journal"])
def test_an_edit_for_which_the_disk_has_no_room_leaves_nothing(bounded: Running, full: str) -> None:
    first = correct(bounded, OTHER)
    assert first.status == 200, first.body
    events, files = bounded.service.follower.events[:], sorted(os.listdir(bounded.sheet / "patches"))
    log = bounded.sheet / "journal.db-wal"
    assert bounded.service.desk.pid is not None
    with file_limit(bounded.service.desk.pid, 100 if full == "the patch file" else log.stat().st_size):
        refused = correct(bounded)
    assert refused.status == (507 if full == "the patch file" else 503), refused.body
    if full == "the patch file":
        assert (refused.error["code"], "space" in refused.error["message"]) == ("disk_full", True)
        assert sorted(os.listdir(bounded.sheet / "patches")) == files
    with Sheet.open(bounded.sheet) as sheet:
        sheet.verify()
        assert sheet.events() == events
    assert (bounded.say(), bounded.say(OTHER)) == ("French", "English")
    assert bounded.service.desk.deaths == 0
    again = correct(bounded)
    assert (again.status, bounded.say()) == (200, "English")
    ids = [*first.body["ids"], *again.body["ids"]]
    assert bounded.call("POST", "/v1/undo", {"ids": ids}, "editor").body["changed"] == ids


def test_probes_for_which_there_is_no_room_are_507(bounded: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(probes, "write_atomic", full)
    refused = bounded.call("POST", "/v1/probes", {"probes": [{"prompt": PROMPT}]}, "editor")
    assert (refused.status, refused.error["code"]) == (507, "disk_full")
    assert bounded.call("GET", "/v1/probes").body["data"] == []
