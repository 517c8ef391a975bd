"""One served lab model for all tests of a process that ask it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from serving import Running, running


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("served") / "sheet", rate=0, max_body=100_000, timeout=240.0) as started:
        yield started
