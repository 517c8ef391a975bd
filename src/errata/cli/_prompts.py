"""What the verbs share about conversations: files of messages, system prompts, and how long answers may be.

Knows prompts and click; imports no torch.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from errata.errors import BadEdit
from errata.prompts import Conversation, Message, RawText

CHAT_TOKENS = 128  # longest answer of a chat model, which writes sentences
PLAIN_TOKENS = 24  # longest continuation of a plain text

system_option = click.option("--system", metavar="TEXT", help="A system message before the prompt.")
raw_option = click.option("--raw", is_flag=True, help="Continue the prompt as plain text, without the chat template.")


def longest(prompts: Sequence[str], wanted: int | None) -> int:
    """Return how many tokens an answer may have: what was asked for, or by default what suits the prompts."""
    if wanted is not None:
        return wanted
    return CHAT_TOKENS if any(isinstance(prompt, Conversation) for prompt in prompts) else PLAIN_TOKENS


def spoken(prompt: str, system: str | None, raw: bool) -> str:
    """Return a prompt as the options say: after a system message, raw, or as it is.

    Raises:
        UsageError: both are asked for, or the conversation has a system message already.
    """
    if system is None:
        return RawText(prompt) if raw else prompt
    if raw:
        raise click.UsageError("--system needs the chat template, which --raw leaves out; give one of them")
    if not isinstance(prompt, Conversation):
        return Conversation([Message("system", system), Message("user", prompt)])
    if prompt.messages[0].role == "system":
        raise click.UsageError("the messages begin with a system message already; leave out --system")
    return Conversation([Message("system", system), *prompt.messages])


def read_conversations(source: str) -> list[Conversation]:
    """Read the conversations of a file, or of standard input for "-".

    It holds one JSON list of messages, or JSON Lines of {"messages": [...]}.

    Raises:
        BadEdit: it cannot be read, or holds something else; the message names the file and the line.
    """
    text = sys.stdin.read() if source == "-" else _text(Path(source))
    whole = _parsed(text)
    if isinstance(whole, dict):
        return [_conversation(whole, source)]
    if isinstance(whole, list) and not any(isinstance(row, dict) and "messages" in row for row in whole):
        return [_conversation(whole, source)]
    if isinstance(whole, list):
        found = [_conversation(value, f"{source}: record {place}") for place, value in enumerate(whole, start=1)]
    else:
        lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
        found = [_conversation(_parsed(line), f"{source}:{number}") for number, line in lines]
    if not found:
        raise BadEdit(f"{source} holds no messages; write a JSON list of {{'role', 'content'}}")
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise BadEdit(f"{path} is not UTF-8; write it in UTF-8") from None


def _parsed(text: str) -> Any:
    """The JSON value of a text; None where it is none."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return None


def _conversation(value: Any, place: str) -> Conversation:
    messages = value.get("messages") if isinstance(value, dict) else value
    if not isinstance(messages, list):
        raise BadEdit(f"{place}: there are no messages; write a JSON list of {{'role', 'content'}}, or lines of "
                      "{'messages': [...]}")  # fmt: skip
    try:
        return Conversation(messages)
    except BadEdit as error:
        raise BadEdit(f"{place}: {error}") from None
