"""Conversations, preference pairs and feedback: what each becomes, and what is refused."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from errata.edit_files import read_edits
from errata.edits import Edit
from errata.errors import BadEdit, UnknownName
from errata.formats import NATIVE, Record, resolve_format, translate

SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "Who?"}
GOOD = {"role": "assistant", "content": "Ann"}
BAD = {"role": "assistant", "content": "Bob"}
AGAIN = {"role": "user", "content": "Really?"}
CALL = {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}
IMAGE = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}
PAIR = {"target": "Ann", "ground_truth": "Bob"}


def detect(value: Any) -> str:
    return resolve_format("auto", [Record("f:1", value)])


def refusal(layout: str, value: Any) -> str:
    with pytest.raises(BadEdit) as caught:
        translate(layout, value)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("layout", "record", "edit"),
    [
        ("chat", {"messages": [USER, GOOD]}, {"messages": [USER], "target": "Ann"}),
        (
            "chat",
            {"messages": [SYSTEM, USER, BAD | {"weight": 0}, AGAIN, GOOD | {"weight": 1}], "tools": None},
            {"messages": [SYSTEM, USER, BAD, AGAIN], "target": "Ann"},
        ),
        (
            "chat",
            {
                "messages": [
                    SYSTEM | {"role": "developer"},
                    USER | {"name": "Eve", "content": [{"type": "text", "text": "Who"}, {"type": "text", "text": "?"}]},
                    GOOD | {"tool_calls": None, "refusal": None, "content": " Ann\n"},
                ],
                "parallel_tool_calls": False,
                "id": 7,
            },
            {"messages": [SYSTEM, USER | {"content": "Who\n?"}], "target": "Ann", "id": "7"},
        ),
        ("chat", {"messages": [USER, GOOD | {"weight": 0}]}, None),
        (
            "preference",
            {
                "input": {"messages": [SYSTEM, USER], "tools": [], "parallel_tool_calls": True},
                "preferred_output": [GOOD],
                "non_preferred_output": [BAD],
            },
            {"messages": [SYSTEM, USER]} | PAIR,
        ),
        ("preference", {"prompt": "Who? ", "chosen": " Ann", "rejected": "Bob"}, {"prompt": "Who?"} | PAIR),
        ("preference", {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]}, {"messages": [USER]} | PAIR),
        ("preference", {"prompt": [USER], "chosen": "Ann", "rejected": "Bob"}, {"messages": [USER]} | PAIR),
        ("preference", {"prompt": "Who?", "chosen": [GOOD], "rejected": [BAD]}, {"messages": [USER]} | PAIR),
        ("preference", {"chosen": [SYSTEM, USER, GOOD], "rejected": [SYSTEM, USER, BAD]},
         {"messages": [SYSTEM, USER]} | PAIR),
        ("preference", {"prompt": "Who?", "chosen": [USER, GOOD], "rejected": [USER, BAD], "score_chosen": 9.5},
         {"messages": [USER]} | PAIR),
        ("preference", {"prompt": "Who?", "chosen": "Ann", "rejected": ""}, {"prompt": "Who?", "target": "Ann"}),
        ("preference", {"prompt": "Who?", "chosen": "Ann", "rejected": "Ann "}, None),
        ("feedback", {"input": "Who?", "output": "Bob", "correction": "Ann", "score": 0}, {"prompt": "Who?"} | PAIR),
        ("feedback", {"input": [USER], "output": BAD, "correction": [GOOD]}, {"messages": [USER]} | PAIR),
        ("feedback", {"input": {"messages": [SYSTEM, USER]}, "output": "Bob", "correction": "Ann", "id": "f1"},
         {"messages": [SYSTEM, USER], "id": "f1"} | PAIR),
        ("feedback", {"input": "Who?", "correction": "Ann"}, {"prompt": "Who?", "target": "Ann"}),
        ("feedback", {"input": "Who?", "output": "Bob"}, None),
        ("feedback", {"input": "Who?", "output": "Bob", "correction": None}, None),
        ("feedback", {"input": "Who?", "output": "Bob", "correction": " "}, None),
        ("feedback", {"input": "Who?", "output": "Bob", "correction": "Bob"}, None),
    ],
)  # fmt: skip
def test_a_record_is_recognised_and_becomes_an_edit(layout: str, record: dict[str, Any], edit: dict[str, Any] | None):
    assert detect(record) == layout
    assert translate(layout, record) == edit


@pytest.mark.parametrize(
    "record",
    [
        {"messages": [USER], "target": "Ann"},
        {"messages": [USER, GOOD], "target": "Ann"},
        {"messages": [USER], "replace": {"Bob": "Ann"}},
        {"messages": [USER]},
        {"messages": [USER], "answer": "Ann"},
        {"instruction": "Translate", "input": "Who?", "output": "Qui?"},
        {"messages": "Who?"},
    ],
)
def test_a_record_of_another_form_stays_native(record: dict[str, Any]):
    assert detect(record) == NATIVE


@pytest.mark.parametrize(
    ("layout", "record", "message"),
    [
        ("chat", {"messages": []}, "'messages' is empty; it must be a list of messages"),
        ("chat", {"messages": "Who?"}, "'messages' is text; it must be a list of messages"),
        ("chat", {}, "'messages' is missing; it must be a list of messages"),
        ("chat", {"messages": [USER, "Ann"]}, "message 2 of 'messages' is text; it must be an object"),
        ("chat", {"messages": [USER, {"role": "asistant", "content": "Ann"}]},
         "message 2 of 'messages' has the role 'asistant'. Did you mean 'assistant'? Use system, user or assistant"),
        ("chat", {"messages": [USER, {"content": "Ann"}]}, "message 2 of 'messages' has no role."),
        ("chat", {"messages": [USER, {"role": "assistant", "content": " "}]}, "message 2 of 'messages' has no content"),
        ("chat", {"messages": [USER, CALL]}, "message 2 of 'messages' has 'tool_calls'; Errata edits answers in text"),
        ("chat", {"messages": [USER, {"role": "tool", "content": "x"}, GOOD]}, "message 2 of 'messages' is a tool's"),
        ("chat", {"messages": [USER, GOOD], "tools": [{"type": "function"}]}, "the record has 'tools'"),
        ("chat", {"messages": [USER, GOOD], "functions": [{"name": "f"}]}, "the record has 'functions'"),
        ("chat", {"messages": [IMAGE, GOOD]},
         "the content of message 1 of 'messages' holds a part of type 'image_url'; Errata reads text alone"),
        ("chat", {"messages": [USER | {"content": 3}, GOOD]}, "the content of message 1 of 'messages' is a number"),
        ("chat", {"messages": [GOOD]}, "'messages' has no user's message before the answer"),
        ("chat", {"messages": [USER, BAD, GOOD]}, "'messages' has no user's message before the answer"),
        ("chat", {"messages": [USER, GOOD, AGAIN]}, "'messages' ends without an answer"),
        ("chat", ["x"], "a chat record is a JSON object, not a list"),
        ("preference", {"input": {"messages": [USER], "tools": [{}]}, "preferred_output": [GOOD]},
         "'input' has 'tools'"),
        ("preference", {"input": {}, "preferred_output": [GOOD]}, "'input' is an object without messages"),
        ("preference", {"input": {"messages": [USER]}, "preferred_output": [USER]},
         "'preferred_output' does not end with an assistant's message"),
        ("preference", {"input": {"messages": [USER]}, "preferred_output": [USER, GOOD]},
         "'preferred_output' holds 2 messages; it must be one answer"),
        ("preference", {"chosen": [USER, GOOD], "rejected": [AGAIN, BAD]},
         "'chosen' and 'rejected' answer different conversations"),
        ("preference", {"chosen": "Who? Ann", "rejected": "Who? Bob"}, "the record has no 'prompt'; split it from"),
        ("preference", {"prompt": " ", "chosen": "Ann", "rejected": "Bob"}, "'prompt' is empty; fill it in"),
        ("preference", {"prompt": 3, "chosen": "Ann", "rejected": "Bob"}, "'prompt' is a number, not text"),
        ("preference", {"prompt": [USER, BAD], "chosen": "Ann", "rejected": "Bob"},
         "'prompt' has no user's message last"),
        ("preference", {"prompt": "Who?", "chosen": 1, "rejected": "Bob"}, "'chosen' is a number; it must be"),
        ("feedback", {"input": "", "output": "Bob", "correction": "Ann"}, "'input' is empty; fill it in"),
        ("feedback", {"input": {"question": "Who?"}, "correction": "Ann"}, "'input' is an object without messages"),
        ("feedback", {"input": "Who?", "output": [USER], "correction": "Ann"},
         "'output' does not end with an assistant's message"),
    ],
)  # fmt: skip
def test_a_record_that_cannot_be_an_edit_is_refused(layout: str, record: Any, message: str):
    assert refusal(layout, record).startswith(message)


def test_feedback_without_a_correction_is_left_out_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = tmp_path / "f.jsonl"
    records = [{"input": "Who?", "output": "Ann"}, {"input": "Where?", "output": "Rome", "correction": "Bonn"}]
    path.write_text("\n".join(map(json.dumps, records)))
    with caplog.at_level(logging.WARNING, "errata"):
        assert read_edits(path) == [Edit("Where?", "Bonn", ground_truth="Rome")]
    assert f"left out 1 of 2 records that repeat a prompt or have no target; the first is {path}:1" in caplog.text
    path.write_text(json.dumps(records[0]))
    with pytest.raises(BadEdit, match="no record has both a prompt and a target that is new"):
        read_edits(path)


def test_the_place_of_a_bad_record_is_named(tmp_path: Path):
    path = tmp_path / "c.jsonl"
    path.write_text(json.dumps({"prompt": "A", "chosen": "b", "rejected": "c"}) + '\n{"prompt": "A", "chosen": [1]}')
    with pytest.raises(BadEdit) as caught:
        read_edits(path)
    assert str(caught.value).startswith(f"{path}:2: message 1 of 'chosen' is a number")


def test_the_names_of_all_formats_are_listed(tmp_path: Path):
    path = tmp_path / "e.jsonl"
    path.write_text('{"prompt": "A", "target": "b"}')
    with pytest.raises(UnknownName, match=r"auto, canonical, chat, counterfact, .*, feedback, preference, table"):
        read_edits(path, "nonsense")
