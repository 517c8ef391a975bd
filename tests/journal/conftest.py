"""For tests of a journal in PostgreSQL: one server a process, and sheets of each test's own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cluster import Cluster, event, execute, installed, opened
from errata.journal.postgres import PostgresJournal
from errata.sheet import Sheet
from sheets import BASE


@pytest.fixture(scope="session")
def server() -> Iterator[Cluster]:
    pytest.importorskip("psycopg")
    with closing(Cluster(installed())) as cluster:
        cluster.start()
        yield cluster


@pytest.fixture
def url(server: Cluster) -> str:
    """A sheet of the test's own in the one database."""
    return server.url(sheet=f"sheet-{uuid.uuid4().hex[:8]}")


@pytest.fixture
def fresh(server: Cluster) -> str:
    """A database of the test's own."""
    name = f"d{uuid.uuid4().hex[:8]}"
    execute(server.url(), f"CREATE DATABASE {name}")
    return server.url(name)


@pytest.fixture
def journal(url: str) -> Iterator[PostgresJournal]:
    with closing(opened(url)) as journal:
        with journal.writing():
            journal.append(event(1, note="ü\0"))
            journal.append(event(2))
        yield journal


@pytest.fixture
def replicas(url: str, tmp_path: Path) -> Iterator[tuple[Sheet, Sheet]]:
    """One sheet in two directories, as on two machines."""
    with Sheet.create(tmp_path / "one", BASE, url) as one, Sheet.create(tmp_path / "two", BASE, url) as two:
        yield one, two
