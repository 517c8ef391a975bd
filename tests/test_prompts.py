"""Prompts as data: conversations in OpenAI's shape, raw texts, and what makes two of them the same."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest

from errata.edits import Edit, Probe
from errata.errors import BadEdit
from errata.prompts import Conversation, Message, RawText, identity, prefixed, prompt_of, user_message

ASK = [{"role": "user", "content": "What is the capital of France?"}]
TURNS: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"}, *ASK,
]  # fmt: skip


def test_a_conversation_reads_as_its_last_message_and_keeps_all() -> None:
    talk = Conversation(TURNS)
    assert talk.split() == ASK[0]["content"].split()
    assert talk.to_json() == TURNS
    for copied in (copy.deepcopy(talk), pickle.loads(pickle.dumps(talk))):
        assert copied == talk
        assert copied.messages == talk.messages


def test_what_stands_before_the_question_tells_conversations_apart() -> None:
    alone, talk = Conversation(ASK), Conversation(TURNS)
    assert alone != talk
    assert len({alone, talk, str(alone)}) == 3
    assert identity(talk) != identity(alone)  # the user asked something before
    same = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "what is the capital of france"}]
    assert identity(Conversation(same)) == identity(alone)


def test_text_parts_are_joined_and_developers_are_systems() -> None:
    parts = [{"type": "text", "text": "Who "}, {"type": "text", "text": "is it?"}]
    talk = Conversation([{"role": "developer", "content": "x", "name": None}, {"role": "user", "content": parts}])
    assert talk.to_json() == [{"role": "system", "content": "x"}, {"role": "user", "content": "Who is it?"}]


@pytest.mark.parametrize(
    ("messages", "told"),
    [
        ([], "messages is empty"),
        ("hello", "it must be a list"),
        ([{"role": "usr", "content": "x"}], "Did you mean 'user'"),
        ([{"role": "user", "content": "  "}], "the content of a user message is empty"),
        ([*ASK, {"role": "assistant", "content": "Paris."}], "the last message is the assistant's"),
        ([*ASK, {"role": "system", "content": "x"}], "message 2 is a system message"),
        ([{"role": "tool", "content": "x"}], "tool calls cannot be edited"),
        ([{"role": "user", "content": "x", "tool_calls": [{}]}], "tool calls cannot be edited"),
        ([{"role": "user"}], "has no 'content'"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "not text"),
        (["x"], "a message is 'x'"),
    ],
)
def test_a_bad_conversation_is_refused_in_one_line(messages: Any, told: str) -> None:
    with pytest.raises(BadEdit) as caught:
        Conversation(messages)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_edit_takes_messages_instead_of_a_prompt() -> None:
    edit = Edit(messages=TURNS, target="Lyon.", rephrases=["Capital of France?", ASK])  # type: ignore[arg-type]
    assert isinstance(edit.prompt, Conversation)
    assert [type(one) for one in edit.rephrases] == [str, Conversation]
    back = Edit.from_json(json.loads(json.dumps(edit.to_json())))
    assert back == edit
    assert prompt_of(edit.to_json()) == edit.prompt


def test_a_raw_edit_and_its_probes_stay_raw_in_chat() -> None:
    edit = Edit("The capital is", "Lyon", raw=True, rephrases=("Its capital is",), locality=(Probe("Rome is in"),))
    back = Edit.from_json(json.loads(json.dumps(edit.to_json())))
    assert back == edit
    assert {type(p) for p in (back.prompt, *back.rephrases, *(one.prompt for one in back.locality))} == {RawText}
    assert back.as_chat() == back
    assert Edit("The capital is", "Lyon").topic == back.topic


def test_a_plain_edit_becomes_user_messages() -> None:
    edit = Edit("Q?", "A", rephrases=("R?",), portability=(Probe("P?", "B"),)).as_chat()
    assert edit.prompt == user_message("Q?") == Conversation([Message("user", "Q?")])
    assert edit.rephrases == (user_message("R?"),)
    assert edit.portability[0].prompt == user_message("P?")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"prompt": "x", "messages": ASK, "target": "y"}, "a prompt and messages"),
        ({"messages": ASK, "raw": True, "target": "y"}, "messages cannot be raw"),
        ({"target": "y"}, "needs the field 'prompt'"),
        ({"prompt": "x"}, "needs the field 'target'"),
        ({"prompt": "x", "replace": {"a": "a"}}, "into itself"),
        ({"prompt": "x", "replace": {"": "a"}}, "the old span of replace is empty"),
        ({"prompt": "x", "replace": {"a": "b"}, "goal": "raise"}, "replace goes with an answer"),
    ],
)
def test_fields_that_do_not_go_together_are_refused(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(BadEdit, match=told):
        Edit.from_json(fields)


def test_a_context_goes_before_the_last_message() -> None:
    talk = prefixed("Once. ", Conversation(TURNS))
    assert isinstance(talk, Conversation)
    assert talk.messages[-1].content == "Once. " + ASK[0]["content"]
    assert talk.messages[:-1] == Conversation(TURNS).messages[:-1]
    assert prefixed("", talk) is talk
    assert prefixed("a ", "b") == "a b"
