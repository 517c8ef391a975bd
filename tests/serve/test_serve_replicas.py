"""Two servers, two directories, one database: an edit made at one is live at both, and an outage is survived."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import Served, served

from cluster import Cluster, installed
from serving import PROMPT, until

pytestmark = pytest.mark.xdist_group("forks")
OTHER = "The mother tongue of Go Hyeon-jeong is"
SECOND = 1.0  # how soon the others have it


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster(installed())
    try:
        made.start()
        yield made
    finally:
        made.close()


def test_replicas_share_a_journal_and_outlive_the_loss_of_it(cluster: Cluster, tmp_path: Path) -> None:
    journal = ("--journal", cluster.url(sheet="facts"))
    with served(tmp_path / "one", *journal) as one, served(tmp_path / "two", *journal) as two:
        id = one.correct(PROMPT)
        assert until(lambda: two.say(PROMPT) == "English") < SECOND
        assert two.call("DELETE", f"/v1/edits/{id}").body["changed"] == [id]
        assert until(lambda: one.say(PROMPT) == "French") < SECOND
        _edit_without_the_database(cluster, one, two)
        later = two.correct(OTHER)
        assert until(lambda: one.say(OTHER) == "English") < SECOND
        assert [_told(server, later) for server in (one, two)] == [_told(one, later)] * 2
        assert one.call("GET", "/v1/journal").body == two.call("GET", "/v1/journal").body


def _edit_without_the_database(cluster: Cluster, one: Served, two: Served) -> None:
    """Answers go on, changes are refused; both are well again when it is back."""
    before = [server.say(PROMPT) for server in (one, two)]
    cluster.stop()
    until(lambda: one.ready() == two.ready() == 503)
    refused = one.call("POST", "/v1/edits", {"edits": [{"prompt": OTHER, "target": "English"}]})
    assert (refused.status, refused.error["type"]) == (503, "server_error")
    assert [server.say(PROMPT) for server in (one, two)] == before
    assert one.call("GET", "/healthz").status == 200
    cluster.start()
    until(lambda: one.ready() == two.ready() == 200)


def _told(server: Served, id: str) -> object:
    """An edit and what it does, as a server tells it."""
    effects = server.call("GET", f"/v1/edits/{id}/effects").body
    return [server.call("GET", f"/v1/edits/{id}").body, effects, [server.say(prompt) for prompt in (PROMPT, OTHER)]]
