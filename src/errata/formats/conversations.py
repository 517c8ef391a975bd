"""Conversations as people have them: fine-tuning files, preference pairs and feedback, turned into edits.

Knows OpenAI's and TRL's records, and which messages Errata can read. A conversation becomes the `messages` of an edit,
a plain text its `prompt`.
"""

from __future__ import annotations

from typing import Any

from errata import fields
from errata.errors import BadEdit, did_you_mean
from errata.fields import Fields

Messages = list[dict[str, str]]

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
TOOLS = ("tools", "functions", "tool_calls", "function_call", "tool_call_id")
OWN_ANSWERS = ("target", "replace")  # an edit in Errata's own form has one of them, beside its messages


# The layouts


def is_chat(record: Fields) -> bool:
    """Whether a record is a conversation that ends with the good answer, as fine-tuning files have them."""
    messages = record.get("messages")
    if not isinstance(messages, list) or any(name in record for name in OWN_ANSWERS):
        return False
    last = messages[-1] if messages else None
    return not (isinstance(last, dict) and last.get("role") == "user")


def read_chat(record: Fields) -> Fields | None:
    """Read a fine-tuning record: the last assistant message is the target, and asks nothing of weight 0."""
    _refuse_tools(record, "the record")
    conversation = read_messages(record.get("messages"), "messages")
    if conversation[-1]["role"] != "assistant":
        raise BadEdit("'messages' ends without an answer; add the assistant's good answer as the last message")
    if record["messages"][-1].get("weight") == 0:
        return None
    asked = _ending_with_the_user(conversation[:-1], "messages", "before the answer")
    return {"messages": asked, "target": conversation[-1]["content"].strip()} | _id(record)


def is_preference(record: Fields) -> bool:
    """Whether a record is a pair of a good and a bad answer, in OpenAI's form or in TRL's."""
    return record.keys() >= {"chosen", "rejected"} or record.keys() >= {"input", "preferred_output"}


def read_preference(record: Fields) -> Fields | None:
    """Read a preference pair: the preferred answer is the target, the other the ground truth.

    TRL's answers may hold the whole conversation; then both must hold the same one.
    """
    if "preferred_output" in record:
        asked = _asked(record, "input")
        good, bad = _answer(record, "preferred_output"), _answer(record, "non_preferred_output")
        return _correction(record, asked, good, bad)
    before, good = _completion(record, "chosen")
    before_bad, bad = _completion(record, "rejected")
    if bad is not None and before != before_bad:
        raise BadEdit(
            "'chosen' and 'rejected' answer different conversations; they may differ in the last message alone"
        )
    if before:
        asked = {"messages": _ending_with_the_user(before, "chosen", "before the answer")}
    elif isinstance(record.get("chosen"), list) and isinstance(record.get("prompt"), str):
        asked = {"messages": [{"role": "user", "content": _text(record, "prompt")}]}
    elif "prompt" not in record and isinstance(record.get("chosen"), str):
        raise BadEdit("the record has no 'prompt'; split it from 'chosen' and 'rejected', which begin with it")
    else:
        asked = _asked(record, "prompt")
    return _correction(record, asked, good, bad)


def is_feedback(record: Fields) -> bool:
    """Whether a record is what a user said of an answer: an input, an output and perhaps a correction."""
    others = {"prompt", "target", "instruction"}  # an instruction with input and output is no feedback
    return "input" in record and not others & record.keys() and bool({"output", "correction"} & record.keys())


def read_feedback(record: Fields) -> Fields | None:
    """Read a feedback record: the correction is the target, the output the ground truth."""
    correction = _answer(record, "correction")
    if correction is None:
        return None
    return _correction(record, _asked(record, "input"), correction, _answer(record, "output"))


# Messages


def read_messages(value: Any, key: str) -> Messages:
    """Read the messages of the field `key`: the role and the text of each, and nothing else.

    Raises:
        BadEdit: there is no message, or one has an unknown role, no text, or holds more than text.
    """
    if not isinstance(value, list) or not value:
        raise BadEdit(f"'{key}' is {'empty' if value == [] else fields.kind(value)}; it must be a list of messages")
    return [_message(message, f"message {number} of '{key}'") for number, message in enumerate(value, start=1)]


def _message(message: Any, name: str) -> dict[str, str]:
    if not isinstance(message, dict):
        raise BadEdit(f"{name} is {fields.kind(message)}; it must be an object with a role and content")
    role = message.get("role")
    if role in ("tool", "function"):
        raise BadEdit(f"{name} is a tool's result; leave out conversations that use tools")
    if not isinstance(role, str) or role not in ROLES:
        hint = did_you_mean(role, ROLES) if isinstance(role, str) else ""
        given = f"the role '{role}'" if isinstance(role, str) else "no role"
        raise BadEdit(f"{name} has {given}.{hint} Use system, user or assistant")
    _refuse_tools(message, name)
    content = _content(message.get("content"), name)
    if not content.strip():
        raise BadEdit(f"{name} has no content; fill it in or leave the message out")
    return {"role": ROLES[role], "content": content}


def _content(content: Any, name: str) -> str:
    """Return the text of a message, of which OpenAI's form may hold several parts."""
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise BadEdit(f"the content of {name} is {fields.kind(content)}; it must be text")
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind != "text" or not isinstance(part.get("text"), str):
            raise BadEdit(f"the content of {name} holds a part of type {kind!r}; Errata reads text alone")
    return "\n".join(part["text"] for part in content)


def _refuse_tools(value: Fields, name: str) -> None:
    for key in TOOLS:
        if value.get(key):  # exports write them as null or [] where there are none
            raise BadEdit(
                f"{name} has '{key}'; Errata edits answers in text, so leave out conversations that use tools"
            )


def _ending_with_the_user(messages: Messages, key: str, where: str = "last") -> Messages:
    if not messages or messages[-1]["role"] != "user":
        raise BadEdit(f"'{key}' has no user's message {where}; it must be what the answer replies to")
    return messages


# What is asked, and the answers


def _asked(record: Fields, key: str) -> Fields:
    """Return the prompt or the messages of an edit from a text, a list of messages, or an object that holds one."""
    value = record.get(key)
    if isinstance(value, dict):
        _refuse_tools(value, f"'{key}'")
        value = value.get("messages")
        if value is None:
            raise BadEdit(f"'{key}' is an object without messages; it must be text or hold 'messages'")
    if isinstance(value, list):
        return {"messages": _ending_with_the_user(read_messages(value, key), key)}
    return {"prompt": _text(record, key)}


def _text(record: Fields, key: str) -> str:
    text = fields.text(record, key).strip()
    if not text:
        raise BadEdit(f"'{key}' is empty; fill it in")
    return text


def _answer(record: Fields, key: str) -> str | None:
    """Return an answer that is a text or one assistant message; None where there is none or it is empty."""
    before, answer = _completion(record, key)
    if before:
        raise BadEdit(f"'{key}' holds {len(before) + 1} messages; it must be one answer")
    return answer


def _completion(record: Fields, key: str) -> tuple[Messages, str | None]:
    """Return the messages before an answer, if the field holds them, and the answer."""
    value = record.get(key)
    if value is None or value == []:
        return [], None
    if isinstance(value, str):
        return [], value.strip() or None
    messages = read_messages([value] if isinstance(value, dict) else value, key)
    if messages[-1]["role"] != "assistant":
        raise BadEdit(f"'{key}' does not end with an assistant's message; it must be an answer")
    return messages[:-1], messages[-1]["content"].strip()


def _correction(record: Fields, asked: Fields, good: str | None, bad: str | None) -> Fields | None:
    """Return the edit from one answer to another; None where they are the same or there is no good one."""
    if good is None or good == bad:
        return None
    return asked | {"target": good} | ({} if bad is None else {"ground_truth": bad}) | _id(record)


def _id(record: Fields) -> Fields:
    id = record.get("id")
    return {"id": str(id)} if isinstance(id, str | int) and str(id).strip() else {}
