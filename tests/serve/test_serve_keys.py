"""Keys, limits and what a server says before its model is there: no model is loaded here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from errata.cli import main
from errata.errors import BadConfig, BadSheet, UnknownName
from errata.serve.api.app import build
from errata.serve.api.limits import Limiter
from errata.serve.keys import Keys
from errata.serve.settings import Settings
from errata.sheet import Sheet
from sheets import BASE


def client(tmp_path: Path, **options: Any) -> TestClient:
    """Of an app whose service was never started."""
    return TestClient(build(Settings(sheet=tmp_path, **options)), base_url="http://localhost")


def test_a_key_is_found_by_itself_alone_and_kept_as_a_hash(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    text = keys.add("ann", "edit")
    assert text not in keys.path.read_text()
    other = Keys(tmp_path, "from the environment")
    found, given = other.find(text), other.find("from the environment")
    assert found is not None
    assert given is not None
    assert (found.name, found.scope, given.scope) == ("ann", "edit", "admin")
    assert [found.allows(scope) for scope in ("ask", "edit", "admin")] == [True, True, False]
    assert other.find(text[:-1]) is None
    assert other.find("\ud800") is None
    with pytest.raises(BadConfig, match="already"):
        keys.add("ann", "ask")
    other.remove("ann")
    assert keys.find(text) is None  # another process took it away
    with pytest.raises(UnknownName):
        keys.remove("ann")


def test_damaged_keys_let_nobody_in(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text("{")
    with pytest.raises(BadSheet, match="cannot be read"):
        Keys(tmp_path).find("x")


def test_keys_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sheet = tmp_path / "sheet"
    Sheet.create(sheet, BASE).close()

    def run(*words: str) -> Any:
        assert main(["keys", *words, "--sheet", str(sheet), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    (dry,) = run("add", "--dry-run")
    assert (dry["name"], dry["key"], (sheet / "keys.json").exists()) == ("edit-1", None, False)
    (made,) = run("add", "--scope", "admin", "ann")
    assert Keys(sheet).find(made["key"]) is not None
    (row,) = run("list")
    assert (row["name"], row["scope"], "key" in row) == ("ann", "admin", False)
    run("remove", "ann", "--dry-run")
    assert len(run("list")) == 1
    run("remove", "ann")
    assert run("list") == []
    assert main(["keys", "list", "--sheet", str(tmp_path / "none")]) == 2


def test_a_bucket_fills_with_time() -> None:
    now = [0.0]
    limiter = Limiter(rate=2, burst=3, clock=lambda: now[0])
    assert [limiter.take("a") for _ in range(4)] == [0, 0, 0, 1]
    assert limiter.take("b") == 0
    now[0] += 0.5
    assert [limiter.take("a") for _ in range(2)] == [0, 1]
    slow = Limiter(rate=0.1, burst=1, clock=lambda: now[0])
    assert [slow.take("a") for _ in range(2)] == [0, 10]
    assert [Limiter(rate=0, burst=1).take("a") for _ in range(3)] == [0, 0, 0]


def test_too_many_requests_are_told_when_to_come_back(tmp_path: Path) -> None:
    asking = client(tmp_path, rate=0.01, burst=2)
    statuses = [asking.get("/v1/models").status_code for _ in range(3)]
    assert statuses == [503, 503, 429]
    reply = asking.get("/v1/models")
    assert int(reply.headers["Retry-After"]) > 1
    assert reply.json()["error"]["type"] == "rate_limit_error"
    assert asking.get("/healthz").status_code == 200


def test_a_server_without_its_model_is_well_and_not_ready(tmp_path: Path) -> None:
    asking = client(tmp_path)
    assert asking.get("/healthz").json() == {"status": "ok"}
    for path in ("/readyz", "/v1/models", "/v1/edits", "/v1/journal"):
        reply = asking.get(path)
        assert (reply.status_code, reply.json()["error"]["type"]) == (503, "server_error")
        assert "Retry-After" in reply.headers


def test_without_keys_changes_are_off_and_the_answer_says_what_to_do(tmp_path: Path) -> None:
    reply = client(tmp_path).post("/v1/edits", json={"edits": [{"prompt": "x", "target": "y"}]})
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, "writes_off")
    assert "errata keys add" in reply.json()["error"]["message"]


def test_the_key_of_the_environment_may_do_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ERRATA_API_KEY", "open sesame")
    asking = client(tmp_path)
    edits = {"edits": [{"prompt": "x", "target": "y"}]}
    reply = asking.post("/v1/edits", json=edits, headers={"Authorization": "Bearer open sesame"})
    assert reply.status_code == 503  # it was let in; the model is not there yet
    assert asking.post("/v1/edits", json=edits, headers={"Authorization": "Bearer else"}).status_code == 401


def test_asking_needs_a_key_where_the_server_says_so(tmp_path: Path) -> None:
    asking = client(tmp_path, require_key=True)
    assert asking.get("/v1/edits").status_code == 503  # there are no keys yet
    text = Keys(tmp_path).add("ann", "ask")
    assert asking.get("/v1/edits").status_code == 401
    assert asking.get("/v1/edits", headers={"Authorization": f"Bearer {text}"}).status_code == 503
    assert asking.get("/healthz").status_code == 200


def test_only_the_names_of_the_server_are_answered(tmp_path: Path) -> None:
    for host, allowed, status in (
        ("evil.example", (), 403), ("model.example", ("model.example",), 200), ("any.example", ("*",), 200),
        ("localhost:8000", (), 200), ("[::1]:8000", (), 200), ("", (), 403), ("[", (), 403),
    ):  # fmt: skip
        reply = client(tmp_path, allowed_hosts=allowed).get("/healthz", headers={"Host": host})
        assert reply.status_code == status, host
