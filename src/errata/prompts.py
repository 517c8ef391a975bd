"""What a model is asked, as plain data: a text, a conversation, or a text to be continued as it stands.

A prompt is a `str`. Given to a chat model it is a user message; `Conversation` is a list of messages that reads as its
last user message; `RawText` is continued without the chat template. Knows OpenAI's shape of messages. It knows no
template and no tokenizer: rendering is in `errata.models.chat`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from errata.errors import BadEdit, did_you_mean
from errata.words import words

ROLES = ("system", "user", "assistant")
SAME_AS = {"developer": "system"}  # OpenAI's newer name
IGNORED_KEYS = ("name", "weight")  # say nothing about the text
TOOLS = ("tool_calls", "function_call", "tool_call_id", "audio")


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation.

    Raises:
        BadEdit: the role is unknown or the content is empty.
    """

    role: str
    content: str

    def __post_init__(self) -> None:
        if self.role in ("tool", "function"):
            raise BadEdit(f"a message has the role '{self.role}'; tool calls cannot be edited: leave them out")
        if self.role not in ROLES:
            known = ", ".join(ROLES)
            raise BadEdit(f"a message has the unknown role {self.role!r}.{did_you_mean(self.role, ROLES)} Use: {known}")
        check_text(self.content, f"the content of a {self.role} message")

    def to_json(self) -> dict[str, str]:
        """Return the message in OpenAI's shape."""
        return {"role": self.role, "content": self.content}

    @classmethod
    def from_json(cls, value: Any) -> Message:
        """Read a message in OpenAI's shape; text parts are joined, and "developer" means "system".

        Raises:
            BadEdit: it holds a tool call, something that is not text, or an unknown field or role.
        """
        if isinstance(value, Message):
            return value
        if not isinstance(value, Mapping):
            raise BadEdit(f"a message is {value!r}; write {{'role': 'user', 'content': '...'}}")
        given = {key: part for key, part in value.items() if part not in (None, [])}
        if tool := next((key for key in TOOLS if key in given), None):
            raise BadEdit(f"a message holds '{tool}'; tool calls cannot be edited: leave those messages out")
        if odd := [key for key in given if key not in ("role", "content", *IGNORED_KEYS)]:
            raise BadEdit(f"a message has the unknown field '{odd[0]}'; use only: role, content")
        if missing := [key for key in ("role", "content") if key not in given]:
            raise BadEdit(f"a message has no '{missing[0]}'; write {{'role': 'user', 'content': '...'}}")
        role = str(given["role"])
        return cls(SAME_AS.get(role, role), _joined(given["content"]))


def _joined(content: Any) -> Any:
    if not isinstance(content, list):
        return content
    parts = [part for part in content if isinstance(part, Mapping)]
    if len(parts) < len(content) or any(part.get("type") != "text" for part in parts):
        raise BadEdit("the content of a message holds parts that are not text; give text alone")
    return "".join(str(part.get("text", "")) for part in parts)


class Conversation(str):
    """Messages that end with a user's; as text it is that last message.

    Two conversations are equal if all their messages are.
    """

    __slots__ = ("messages",)
    messages: tuple[Message, ...]

    def __new__(cls, messages: Iterable[Message | Mapping[str, Any]]) -> Conversation:
        """Raises BadEdit: there is no message, one is not valid, or the last is not the user's."""
        read = read_messages(messages)
        if read[-1].role != "user":
            raise BadEdit(
                f"the last message is the {read[-1].role}'s; end with the user's message that the model answers"
            )
        made = super().__new__(cls, read[-1].content)
        made.messages = read
        return made

    def to_json(self) -> list[dict[str, str]]:
        """Return all messages in OpenAI's shape."""
        return [message.to_json() for message in self.messages]

    @property
    def identity(self) -> str:
        """What is asked, as text: the words of the user's last message, and of the one before where there is one.

        What the system and the assistant say, case and punctuation make no other question.
        """
        asked = [message.content for message in self.messages if message.role == "user"]
        return "\n".join(" ".join(words(text)) or text.strip() for text in asked[-2:])

    @property
    def earlier(self) -> str | None:
        """The user's message before the last one, without which that may not be understood."""
        asked = [message.content for message in self.messages if message.role == "user"]
        return asked[-2] if len(asked) > 1 else None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Conversation) and self.messages == other.messages

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self.messages)

    def __getnewargs__(self) -> tuple[tuple[Message, ...]]:  # type: ignore[override]
        return (self.messages,)


class RawText(str):
    """A text that the model continues as it stands, whatever chat template it has."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RawText) and str.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((RawText, str.__hash__(self)))


def read_messages(messages: Iterable[Message | Mapping[str, Any]]) -> tuple[Message, ...]:
    """Read a conversation in OpenAI's shape: at least one message, at most one system message, and that first.

    Raises:
        BadEdit: it has another shape.
    """
    if isinstance(messages, str | Mapping) or not isinstance(messages, Iterable):
        raise BadEdit(f"messages is {messages!r}; it must be a list of {{'role', 'content'}}")
    read = tuple(Message.from_json(message) for message in messages)
    if not read:
        raise BadEdit("messages is empty; write at least the user's message")
    if late := next((place for place, message in enumerate(read) if place and message.role == "system"), None):
        raise BadEdit(f"message {late + 1} is a system message; it must be the first")
    return read


def read_prompt(value: Any, *, raw: bool = False) -> str:
    """Read a prompt from JSON: a text, or a list of messages.

    Args:
        raw: continue the text without the chat template.

    Raises:
        BadEdit: the messages are not valid, or are to be continued raw.
    """
    if isinstance(value, Conversation) or not isinstance(value, str):
        conversation = value if isinstance(value, Conversation) else Conversation(value)
        if raw:
            raise BadEdit("messages cannot be raw: they need the chat template; give a prompt, or leave out raw")
        return conversation
    return RawText(value) if raw else value


def prompt_of(fields: Mapping[str, Any]) -> str:
    """Read the prompt of an edit or probe in JSON form: its messages, or its text, raw or not."""
    if "messages" in fields:
        return Conversation(fields["messages"])
    return RawText(fields["prompt"]) if fields.get("raw") else fields["prompt"]


def prompt_fields(prompt: str) -> dict[str, Any]:
    """Return a prompt as fields of a JSON object; `prompt_of` reads them back."""
    if isinstance(prompt, Conversation):
        return {"messages": prompt.to_json()}
    return {"prompt": str(prompt), "raw": True} if isinstance(prompt, RawText) else {"prompt": prompt}


def prompt_json(prompt: str) -> str | list[dict[str, str]]:
    """Return a prompt as one JSON value, for lists of them; whether it is raw is said elsewhere."""
    return prompt.to_json() if isinstance(prompt, Conversation) else str(prompt)


def identity(prompt: str) -> str:
    """Return text that is the same for prompts that ask the same; see `Conversation.identity`."""
    return prompt.identity if isinstance(prompt, Conversation) else str(prompt)


def user_message(prompt: str) -> str:
    """Return a plain text as the user's message; a conversation or a raw text as it is."""
    if isinstance(prompt, Conversation | RawText):
        return prompt
    return Conversation([Message("user", prompt)])


def prefixed(prefix: str, prompt: str) -> str:
    """Return a prompt with a text before it; in a conversation before the last message."""
    if not prefix:
        return prompt
    if not isinstance(prompt, Conversation):
        return prefix + prompt
    *before, last = prompt.messages
    return Conversation([*before, Message(last.role, prefix + last.content)])


def like(prompt: str, others: Sequence[Any]) -> tuple[str, ...]:
    """Read other prompts of an edit: raw where its own is."""
    raw = isinstance(prompt, RawText)
    return tuple(read_prompt(other, raw=raw and isinstance(other, str) and not isinstance(other, Conversation))
                 for other in others)  # fmt: skip


def check_text(value: object, what: str, optional: bool = False) -> None:
    """Refuse what is not text, is blank, or cannot be encoded. Raises: BadEdit."""
    if value is None and optional:
        return
    if not isinstance(value, str):
        raise BadEdit(f"{what} is {quote(value)}; it must be text")
    if not value.strip():
        raise BadEdit(f"{what} is empty; fill it in{' or leave it out' if optional else ''}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadEdit(f"{what} {quote(value)} holds half a surrogate pair; write the character itself") from None


def quote(value: object) -> str:
    """Return a value for a message, cut to one line of 80 characters."""
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return text if len(text) <= 80 else f"{text[:76]} ..."


def one_line(prompt: str) -> str:
    """Return a prompt on one line: of a conversation the last message, after a note of what comes before it."""
    text = " ".join(prompt.split())
    if not isinstance(prompt, Conversation) or len(prompt.messages) == 1:
        return text
    before = prompt.messages[:-1]
    notes = [f"system: {_cut(message.content)}" for message in before if message.role == "system"]
    if earlier := sum(message.role != "system" for message in before):
        notes.append(f"{earlier} earlier message{'s' if earlier > 1 else ''}")
    return f"[{'; '.join(notes)}] {text}"


def _cut(text: str, size: int = 40) -> str:
    line = " ".join(text.split())
    return line if len(line) <= size else f"{line[: size - 4]} ..."
