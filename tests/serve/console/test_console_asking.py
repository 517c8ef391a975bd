"""Asking and correcting at the console: what a person does, sees and hears."""

from __future__ import annotations

import re
from typing import Any

from pretended import Pretended
from visiting import PROMPT, answers, ask, tried, until


def test_the_header_names_the_model_and_the_head(page: Any, server: Pretended):
    assert page.text_content("#model") == "lab:gpt@sheet"
    assert page.text_content("#head") == "#0"
    assert page.text_content("#connection") == "live"


def test_an_answer_stands_beside_the_parents_with_the_edit_that_fired(page: Any, server: Pretended):
    server.add(PROMPT, "English")
    ask(page)
    assert answers(page) == ["English", "French"]
    fired = page.inner_text(".fired")
    assert "e1 fired at block 4, token 9 “is”" in fired
    assert "distance 0.31 within radius 1" in fired


def test_while_a_question_is_open_no_older_answer_can_be_corrected(page: Any, server: Pretended):
    ask(page)
    server.held.set()
    page.fill("#prompt", "The mother tongue of Jean Gabin is")
    page.keyboard.press("Enter")
    page.wait_for_selector("#ask-button[aria-busy]")
    assert page.locator("#wrong-button").count() == 0
    server.held.clear()
    page.wait_for_selector("#wrong-button")
    assert "Jean Gabin" in page.inner_text("#answers")


def test_what_a_model_says_never_becomes_markup(page: Any, server: Pretended):
    ask(page, "Say something wicked")
    assert answers(page)[0].startswith("<img src=x onerror=")
    assert page.locator("#answers img, #answers b").count() == 0
    assert page.title() == "Ask – Errata console"


def test_a_prompt_can_have_several_lines(page: Any):
    page.focus("#prompt")
    page.keyboard.type("one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    assert page.input_value("#prompt") == "one\ntwo"


# -- correcting -------------------------------------------------------------------------------------------------------


def test_a_correction_by_keyboard_alone(page: Any, server: Pretended):
    page.keyboard.type(PROMPT)
    page.keyboard.press("Enter")
    page.wait_for_selector("#wrong-button")
    page.keyboard.press("Tab")
    page.keyboard.press("w")
    page.wait_for_selector("#target:focus")
    assert page.input_value("#subject") == "Danielle Darrieux"
    page.keyboard.type("English")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#accept-button")
    assert server.head == 0, "a trial records nothing"
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#outcome .good")
    page.wait_for_selector("#answers .new")
    assert answers(page) == ["English", "French"]
    wanted = {"edits": [{"prompt": PROMPT, "target": "English", "subject": "Danielle Darrieux"}]}
    wanted |= {"method": "grace", "options": {}}
    assert server.posted == [wanted | {"dry_run": True}, wanted | {"dry_run": False}]
    assert page.text_content("#head") == "#1"


def test_rephrases_neighbours_and_options_are_sent_typed(page: Any, server: Pretended):
    ask(page)
    page.click("#wrong-button")
    page.fill("#target", "English")
    page.fill("#subject", "")
    page.fill("#rephrases", "one\n\n two ")
    page.fill("#neighbours", "three")
    page.click("summary")
    page.fill("#option-layer", "2")
    page.fill("#option-radius", "3.5")
    page.select_option("#option-init", label="cold")
    page.select_option("#option-anchor", label="on")
    page.click("#try-button")
    page.wait_for_selector("#accept-button")
    edit = {"prompt": PROMPT, "target": "English", "rephrases": ["one", "two"], "locality": [{"prompt": "three"}]}
    options = {"layer": 2, "radius": 3.5, "init": "cold", "anchor": True}
    assert server.posted == [{"edits": [edit], "method": "grace", "options": options, "dry_run": True}]
    page.select_option("#method", "ft")
    assert page.locator("#options label").all_text_contents() == ["lr", "steps"]
    assert page.get_attribute("#option-lr", "placeholder") == "0.01"


def test_a_trial_shows_what_moves_and_what_does_not(page: Any):
    ask(page)
    page.click("#wrong-button")
    page.fill("#neighbours", "The mother tongue of Jean Gabin is\nThis will move")
    page.fill("#rephrases", "Danielle Darrieux, a native")
    tried(page, "English")
    rows = [row.split("\t") for row in page.inner_text("#trial table").split("\n") if "\t" in row]
    assert [PROMPT, "French", "English", "corrected"] in rows
    assert ["Danielle Darrieux, a native", "French", "English", "follows"] in rows
    assert ["The mother tongue of Jean Gabin is", "French", "French", "unchanged"] in rows
    assert ["This will move", "French", "German", "moved"] in rows
    assert "1 of 3 other questions moved" in page.inner_text("#trial")
    assert "Gate locality>=0.4: the value 0.5 meets it." in page.inner_text("#trial")


def test_rejecting_records_nothing(page: Any, server: Pretended):
    ask(page)
    tried(page, "English")
    page.click("#reject-button")
    assert page.inner_text("#outcome") == "Rejected. Nothing was recorded."
    assert page.locator("#correction *").count() == 0
    assert server.head == 0


def test_what_was_changed_after_its_trial_cannot_be_accepted(page: Any, server: Pretended):
    ask(page)
    tried(page, "English")
    page.fill("#target", "German")
    assert page.locator("#accept-button").count() == 0
    assert "Try again before you accept" in page.inner_text("#trial")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#accept-button")
    assert [post["dry_run"] for post in server.posted] == [True, True]


def test_a_slow_change_is_sent_once_and_says_how_long_it_takes(page: Any, server: Pretended):
    ask(page)
    tried(page, "English")
    server.held.set()
    for _ in range(3):
        page.dispatch_event("#accept-button", "click")
        page.keyboard.press("Control+Enter")
    page.keyboard.press("Escape")
    assert page.get_attribute("#accept-button", "aria-busy") == "true"
    page.wait_for_selector(r"#accept-button:text-matches('Accepting… \\d+ s')")
    server.held.clear()
    page.wait_for_selector("#outcome .good")
    assert [post["dry_run"] for post in server.posted] == [True, False]
    assert server.head == 1


def test_what_was_accepted_can_be_undone_there(page: Any, server: Pretended):
    ask(page)
    tried(page, "English")
    page.click("#accept-button")
    page.click("#outcome button")
    page.wait_for_selector("#outcome :text('is undone')")
    page.wait_for_selector("#answers .new", state="detached")
    page.wait_for_selector("#answers .pair .said")  # the list is emptied before it is drawn again
    assert answers(page) == ["French", "French"]
    assert [event["kind"] for event in server.events] == ["apply", "undo"]


def test_an_edit_that_does_not_hold_cannot_be_accepted(page: Any):
    ask(page)
    tried(page, "unreachable")
    assert "The answer was not reached: not reached in 100 steps" in page.inner_text("#trial")
    assert page.locator("#accept-button").count() == 0


def test_a_refusal_of_the_gate_shows_what_would_have_moved(page: Any):
    ask(page)
    tried(page, "gated")
    told = page.inner_text("#trial [role=alert]")
    assert "Refused by the gate. locality 0.5 misses locality>=0.99" in told
    assert re.search(r"The capital of France is\s+Paris\s+Lyon\s+moved", told)
    assert page.locator("#trial tbody tr:not(.group)").count() == 1, "the edit itself is not among them"


# -- keys and connection ----------------------------------------------------------------------------------------------


def test_a_key_is_asked_for_in_place_and_kept_in_the_tab_alone(page: Any, server: Pretended):
    page.evaluate("sessionStorage.setItem('errata.key', 'wrong')")
    ask(page)
    tried(page, "English")
    assert "Changes need a key" in page.inner_text("#trial")
    page.click("#trial button")
    page.fill("#key", "right")
    page.keyboard.press("Enter")
    until(page, "sessionStorage.getItem('errata.key') === 'right'")  # a dialog's end is told a moment later
    page.click("#try-button")
    page.wait_for_selector("#accept-button")
    kept = page.evaluate("[sessionStorage.getItem('errata.key'), localStorage.length, document.cookie]")
    assert kept == ["right", 0, ""]
    assert page.input_value("#key") == ""
    page.keyboard.press("Escape")
    page.click("#key-button")
    page.click("#key-forget")
    until(page, "sessionStorage.getItem('errata.key') === null")
    until(page, "document.querySelector('#key-button').textContent === 'Enter key'")
    assert page.text_content("#key-button") == "Enter key"


def test_a_server_that_is_not_ready_or_gone_is_said_in_place(page: Any, server: Pretended):
    server.down = True
    page.fill("#prompt", PROMPT)
    page.click("#ask-button")
    assert "The model is not ready yet" in page.inner_text("#ask-error [role=alert]")
    page.wait_for_selector("#connection[data-state=starting]")
    page.route(re.compile("/v1/|/readyz"), lambda route: route.abort())
    page.click("#ask-button")
    page.wait_for_selector("#connection[data-state=lost]")
    assert "The server did not answer" in page.inner_text("#ask-error [role=alert]")
