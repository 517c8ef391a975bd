"""What a person does at the console, as shorthands for its tests."""

from __future__ import annotations

from typing import Any

PROMPT = "The mother tongue of Danielle Darrieux is"
VIEWS = ("ask", "edits", "journal", "gauges", "probes")


def ask(page: Any, prompt: str = PROMPT) -> None:
    page.fill("#prompt", prompt)
    page.press("#prompt", "Enter")
    page.wait_for_selector("#wrong-button")


def tried(page: Any, target: str) -> None:
    """Open the form, if it is not open, and try `target`."""
    if not page.is_visible("#target"):
        page.click("#wrong-button")
    page.fill("#target", target)
    page.click("#try-button")
    page.wait_for_selector("#trial > *")


def view(page: Any, name: str) -> None:
    page.click(f"nav a[href='#{name}']")
    page.wait_for_selector(f"#{name}:not([hidden])")


def answers(page: Any) -> list[str]:
    return page.locator("#answers .pair .said").all_text_contents()


def until(page: Any, holds: str) -> None:
    """Wait until an expression of the page is true; Playwright's own way evaluates text, which the page forbids."""
    for _ in range(200):
        if page.evaluate(holds):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"it never came to hold: {holds}")
