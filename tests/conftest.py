"""For every test: what is computed once per model and kept goes to a folder of this test run, not to the user's."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory):
    os.environ["ERRATA_CACHE"] = str(tmp_path_factory.mktemp("cache"))
