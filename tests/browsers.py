"""A browser for tests of pages: headless Chromium, or a skip that says what is missing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def missing(what: str) -> Any:
    """Skips, or fails where a browser is required."""
    if os.environ.get("ERRATA_REQUIRE_BROWSER") == "1":
        pytest.fail(f"ERRATA_REQUIRE_BROWSER is 1, and {what}")
    pytest.skip(what)


@contextmanager
def launched() -> Iterator[Any]:
    """Playwright's Chromium."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("the package playwright is not installed")
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        missing(f"no browser is installed ({', '.join(BROWSERS)})")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()
