"""For every test: one thread a process, a cache of this test run, and tests that share what is slow to make together.

Two processes of one thread each are several times faster on two cores than two of two, which wait for one another.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is first imported

import pytest


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory):
    os.environ["ERRATA_CACHE"] = str(tmp_path_factory.mktemp("cache"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of one file run in one process, which loads a model once; those of the contract, method by method."""
    for item in items:
        case = getattr(item, "callspec", None)
        method = case.params.get("name") if case and item.path.parent.name == "contract" else None
        item.add_marker(pytest.mark.xdist_group(str(method or item.path)))
