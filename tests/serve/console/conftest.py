"""The console in a real browser, against a server that pretends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("starlette")

from pretended import Pretended, serving

from browsers import launched


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as opened:
        yield opened


@pytest.fixture(scope="module")
def served() -> Iterator[Pretended]:
    with serving(Pretended()) as state:
        yield state


@pytest.fixture
def server(served: Pretended) -> Pretended:
    served.forget()
    return served


@pytest.fixture(scope="module")
def window(browser: Any, served: Pretended) -> Iterator[tuple[Any, list[str]]]:
    """A window for the tests of this file, one after another, and what it complains of."""
    complaints: list[str] = []
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    opened.set_default_timeout(20_000)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("console", lambda message: complaints.append(message.text))
    yield opened, complaints
    opened.close()


@pytest.fixture
def page(window: tuple[Any, list[str]], server: Pretended) -> Iterator[Any]:
    """The console anew, its key entered; anything it complains of fails the test."""
    opened, complaints = window
    complaints.clear()
    opened.goto(f"{server.url}icon.svg")
    opened.evaluate("sessionStorage.clear(); sessionStorage.setItem('errata.key', 'right')")
    opened.goto(server.url)
    opened.wait_for_selector("#connection[data-state=live]")
    yield opened
    opened.unroute_all()
    assert [text for text in complaints if not text.startswith("Failed to load resource")] == []
