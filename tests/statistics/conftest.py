"""A cache of their own for the tests of statistics, on disk and in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from errata.statistics import kept


@pytest.fixture(autouse=True)
def cached_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("ERRATA_CACHE", str(tmp_path / "cache"))
    kept.forget()
    yield tmp_path / "cache"
    kept.forget()
