"""The report's page in a real browser: nothing fails to load, nothing sticks out on a phone, both colour schemes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from browsers import launched
from errata.evaluate.report.files import write
from errata.evaluate.report.gather import gather
from made_results import whole

PAPER = {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 27)"}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as opened:
        yield opened


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("browser")
    results = whole(folder / "r")
    return write(gather(results), folder / "report")[0].as_uri()


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_opens_cleanly_at_any_width_in_both_schemes(browser: Any, address: str, scheme: str, width: int):
    said: list[str] = []
    asked: list[str] = []
    page = browser.new_page(viewport={"width": width, "height": 844}, color_scheme=scheme)
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [address], "one file and nothing else"
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "no scrolling sideways"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == PAPER[scheme]
    boxes = page.evaluate("[...document.querySelectorAll('svg')].map(one => one.getBoundingClientRect().toJSON())")
    assert len(boxes) == 6
    assert all(box["left"] >= 0 and box["right"] <= width and box["height"] > 150 for box in boxes), boxes
    line = page.evaluate("getComputedStyle(document.querySelector('svg [style*=\"stroke: var(--series-0)\"]')).stroke")
    assert line == {"light": "rgb(0, 98, 177)", "dark": "rgb(108, 184, 255)"}[scheme]
    page.close()


def test_labels_lie_inside_their_drawings(browser: Any, address: str):
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.goto(address)
    outside = page.evaluate(
        """[...document.querySelectorAll('svg text')].filter(text => {
            const inner = text.getBoundingClientRect(), outer = text.closest('svg').getBoundingClientRect();
            return inner.left < outer.left - 1 || inner.right > outer.right + 1;
        }).map(text => text.textContent)"""
    )
    assert outside == []
    page.close()
