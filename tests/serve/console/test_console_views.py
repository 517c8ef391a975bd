"""The console's other views, and the page itself, at any width, in light and dark."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pretended import Pretended
from visiting import PROMPT, VIEWS, ask, tried, view

PAPER = {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 27)"}


def test_edits_are_filtered_undone_and_redone(page: Any, server: Pretended):
    server.add(PROMPT, "English")
    server.add("The capital of Australia is", "Sydney", status="failed")
    view(page, "edits")
    page.wait_for_selector(".edit >> nth=1")
    page.click(".segments :text('failed')")
    page.wait_for_selector(".edit .status.failed")
    assert page.locator(".edit .id").all_text_contents() == ["e2"]
    page.click(".segments :text('active')")
    page.wait_for_selector(".edit .status.active")
    page.click(".edit .turn-button")
    page.wait_for_selector(".edit .status.undone")
    assert page.evaluate("document.activeElement.textContent") == "Redo"
    assert page.inner_text(".edit .notice") == "Solved again"
    page.keyboard.press("Enter")
    page.wait_for_selector(".edit .status.active")
    assert [event["kind"] for event in server.events] == ["apply", "apply", "undo", "redo"]


def test_an_edit_shows_its_effects(page: Any, server: Pretended):
    server.add(PROMPT, "English")
    view(page, "edits")
    page.click(".effects-button")
    page.wait_for_selector(".edit table")
    assert re.search(r"The capital of France is\s+upstream\s+Paris\s+Paris\s+unchanged", page.inner_text(".edit table"))
    assert page.get_attribute(".effects-button", "aria-expanded") == "true"
    page.click(".effects-button")
    assert not page.is_visible(".edit table")


def test_many_edits_come_page_by_page(page: Any, server: Pretended):
    for number in range(70):
        server.add(f"Question {number}", "answer")
    view(page, "edits")
    page.wait_for_selector(".edit >> nth=49")
    page.click("text=Show more")
    page.wait_for_selector(".edit >> nth=69")
    assert page.locator("text=Show more").count() == 0
    view(page, "journal")
    page.wait_for_selector(".entry >> nth=49")
    page.click("text=Show older")
    page.wait_for_selector(".entry >> nth=69")
    assert page.locator(".entry .meta .id").all_text_contents()[::69] == ["#70", "#1"]


def test_any_entry_of_the_journal_can_be_undone_once_confirmed(page: Any, server: Pretended):
    server.add(PROMPT, "English", who="bob")
    view(page, "journal")
    page.wait_for_selector(".entry")
    assert re.search(r"bob\s+edited e1 with grace", page.inner_text(".entry"))
    page.click("text=Undo #1")
    page.click("#confirm-dialog :text('Cancel')")
    assert server.head == 1
    page.click("text=Undo #1")
    assert "undo 1 edit (e1)" in page.inner_text("#confirm-text")
    page.click("#confirm-yes")
    page.wait_for_selector(".entry >> nth=1")
    assert server.edits["e1"]["status"] == "undone"
    page.click("text=Undo #2")
    page.click("#confirm-yes")
    page.wait_for_selector(".entry >> nth=2")
    assert server.edits["e1"]["status"] == "active"
    page.click("text=Undo #2")
    page.click("#confirm-yes")
    page.wait_for_selector(".entry .notice:has-text('Nothing changed')")
    assert server.head == 3


def test_gauges_show_figures_with_their_intervals_over_the_stream(page: Any, server: Pretended):
    for number in range(4):
        server.add(f"Question {number}", "answer")
    server.turn("undo", "e4")
    view(page, "gauges")
    page.wait_for_selector("text=Not measured yet")
    page.click("text=Measure now")
    page.wait_for_selector(".figure:text('90.0 %')")
    told = page.inner_text("#gauges-body")
    assert "95 % interval 61.0 % to 100.0 %, n = 4" in told
    assert "Not measured: no upstream question was asked" in told
    assert page.locator(".figure").all_text_contents() == ["90.0 %", "100.0 %", "3"]
    points = page.locator(".gauge >> nth=0 >> figure >> nth=1 >> tbody tr").all_text_contents()
    assert points == ["1100 %", "250 %", "366.7 %", "475 %"], "of the edits up to each event, those that hold now"
    assert page.locator(".gauge >> nth=2 >> svg").count() == 0
    assert page.get_attribute(".gauge >> nth=3 >> svg", "aria-label").endswith("the last 3.")


def test_gauges_draw_what_was_measured_before_over_the_stream(page: Any, server: Pretended):
    for value in (1.0, 0.9, 0.7):
        server.add(f"Question {value}", "answer")
        server.measure(value)
    server.add("Question", "answer")
    view(page, "gauges")
    page.wait_for_selector(".figure:text('70.0 %')")
    assert page.locator(".gauge >> nth=0 >> tbody tr").all_text_contents() == ["1100 %", "290 %", "370 %"]
    assert page.locator(".gauge >> nth=0 >> .interval").count() == 3
    assert "At event 3" in page.inner_text(".gauge >> nth=0")
    assert "1 event since" in page.inner_text(".gauge >> nth=0")
    assert "no question was asked" in page.inner_text(".gauge >> nth=1")


def test_probes_are_added_and_removed_by_keyboard(page: Any, server: Pretended):
    server.probe("The capital of France is", answer="Paris", about="capital")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("5")
    page.wait_for_selector(".probe")
    assert "The capital of France is → Paris" in page.inner_text(".probe .answer")
    page.focus("#probe-prompt")
    page.keyboard.type("The capital of Italy is")
    page.keyboard.press("Tab")
    page.keyboard.type("Rome")
    page.keyboard.press("Tab")
    page.keyboard.press("l")
    page.keyboard.press("Tab")
    page.keyboard.type("capital")
    page.keyboard.press("Enter")
    page.wait_for_selector(".probe >> nth=1")
    added = {"id": "p2", "prompt": "The capital of Italy is", "answer": "Rome", "kind": "locality", "about": "capital"}
    assert server.probes["p2"] == added
    assert page.evaluate("[document.activeElement.id, document.activeElement.value]") == ["probe-prompt", ""]
    page.focus(".probe button")
    page.keyboard.press("Enter")
    page.wait_for_selector(".probe >> nth=1", state="detached")
    assert page.evaluate("document.activeElement.ariaLabel") == "Remove: The capital of France is"
    page.keyboard.press("Enter")
    page.wait_for_selector(".probe", state="detached")
    assert (server.probes, page.evaluate("document.activeElement.id")) == ({}, "probe-prompt")
    assert page.inner_text("#probes-body > .soft") == "No probes yet."


def test_an_entry_of_many_edits_is_undone_as_one_entry(page: Any, server: Pretended):
    ids = [server.add(f"Question {number}", "answer") for number in range(3)]
    server.turn("undo", *ids)
    view(page, "journal")
    page.click("text=Undo #4")
    assert "redo 3 edits (e1, e2, e3)" in page.inner_text("#confirm-text")
    page.click("#confirm-yes")
    page.wait_for_selector(".entry >> nth=4")
    assert (server.events[-1]["kind"], server.events[-1]["payload"]) == ("redo", {"ids": ids})


# -- the page itself --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_view_opens_cleanly_at_any_width_and_scheme(browser: Any, server: Pretended, scheme: str, width: int):
    server.add(PROMPT, "English and a very long word: " + "x" * 60)
    server.probe("A very long word: " + "x" * 60)
    said: list[str] = []
    asked: list[str] = []
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(server.url)
    ask(page)
    for name in VIEWS:
        view(page, name)
        if name != "ask":
            page.wait_for_selector(f"#{name} .edit, #{name} .entry, #{name} .plot, #{name} .probe")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{name} scrolls sideways"
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == PAPER[scheme]
        assert page.get_attribute("nav a[aria-current]", "href") == f"#{name}"
    assert said == []
    assert all(url.startswith(server.url) for url in asked), "its own server and nothing else"
    page.close()


def test_every_control_has_a_name_and_shows_its_focus(page: Any, server: Pretended):
    ask(page)
    tried(page, "English")
    unnamed = page.evaluate(
        """[...document.querySelectorAll('button, input, select, textarea, a')].filter(node => node.checkVisibility()
            && !(node.labels?.length || node.getAttribute('aria-label') || node.textContent.trim()))
            .map(node => node.outerHTML)"""
    )
    assert unnamed == []
    page.keyboard.press("Tab")  # from here on the focus is one of the keyboard's, and shown
    page.focus(".skip")
    for _ in range(24):
        outline = page.evaluate(
            "(style => [style.outlineStyle, style.outlineWidth])(getComputedStyle(document.activeElement))"
        )
        assert outline == ["solid", "3px"], page.evaluate("document.activeElement.outerHTML")
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement === document.body"):
            return
    assert page.evaluate("document.activeElement.id") != "prompt", "the keyboard is not caught anywhere"


def test_the_shortcuts_are_listed_and_work(page: Any):
    page.focus("#help-button")
    page.keyboard.press("?")
    assert "accept what was tried" in page.inner_text("#help-dialog")
    page.keyboard.press("Escape")
    for number, name in enumerate(VIEWS[1:], 2):
        page.keyboard.press(str(number))
        page.wait_for_selector(f"#{name}:not([hidden])")
    page.keyboard.press("/")
    page.wait_for_selector("#prompt:focus")
    page.keyboard.type("123?")
    assert page.input_value("#prompt") == "123?", "no shortcut takes what is typed"


SUBJECTS = {
    PROMPT: "Danielle Darrieux",
    "Where was Marie Curie born?": "Marie Curie",
    "What is the capital of France?": "France",
    "The Eiffel Tower is in": "Eiffel Tower",
    "The official language of the Kingdom of the Netherlands is": "Kingdom of the Netherlands",
    "Who wrote “the old man and the sea”?": "the old man and the sea",
    "Was Ludwig van Beethoven's mother tongue": "Ludwig van Beethoven",
    "Émile Zola, a native": "Émile Zola",
    "the sky is": "",
    "": "",
}


def test_the_subject_is_guessed_as_the_prompt_spells_it(page: Any):
    guessed = page.evaluate(
        "async (prompts) => { const {guessSubject} = await import('./words.js'); return prompts.map(guessSubject); }",
        list(SUBJECTS),
    )
    assert dict(zip(SUBJECTS, guessed, strict=True)) == SUBJECTS
    assert all(subject in prompt for prompt, subject in zip(SUBJECTS, guessed, strict=True))
