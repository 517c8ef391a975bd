"""Prompts on their way through the desk: as the sheet's model reads them, what makes two the same, and as JSON.

A prompt that passes JSON as its text alone is no conversation any more; what is told here keeps the messages beside it.
Knows prompts and editors; asks nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from errata.editor import Editor
from errata.evaluate.questions import Question
from errata.prompts import Conversation


def describe_prompt(prompt: str) -> dict[str, Any]:
    """Return a prompt for a reply: its text, and all messages of a conversation (None where there are none)."""
    return {"prompt": str(prompt), "messages": prompt.to_json() if isinstance(prompt, Conversation) else None}


def prompt_key(prompt: str) -> Any:
    """Return a value that is equal for prompts that the model reads alike, once an editor has read them.

    A raw text and a plain one are alike, for an editor in chat leaves no plain ones.
    """
    return prompt if isinstance(prompt, Conversation) else str(prompt)


def prompt_keys(prompts: Iterable[str]) -> set[Any]:
    """Return the keys of several prompts."""
    return {prompt_key(prompt) for prompt in prompts}


def read_probes(editor: Editor, probes: Iterable[Question]) -> list[Question]:
    """Return a sheet's probes as its model reads them: a plain text is a user message in chat."""
    return [replace(probe, prompt=editor.read(probe.prompt)) for probe in probes]


def described(row: Mapping[str, Any], prompt: str) -> dict[str, Any]:
    """Return a row of a reply with its prompt as `describe_prompt` tells it."""
    return {**row, **describe_prompt(prompt)}
