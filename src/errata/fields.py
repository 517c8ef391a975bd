"""Fields of a JSON record, each read with the type it must have, or refused in one line.

Knows JSON's types and how to name them. It does not know which fields a record has: `errata.formats` and
`errata.datasets` do.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from errata.errors import BadEdit

Fields = dict[str, Any]


def text(record: Fields, key: str, default: str | None = None) -> str:
    """The text of a field; `default` where the record lacks it. Raises BadEdit for any other type."""
    value = record.get(key, default)
    if not isinstance(value, str):
        raise BadEdit(f"'{key}' is {kind(value)}, not text; check the record and the format")
    return value


def texts(record: Fields, key: str) -> list[str]:
    """The texts of a field that is a text or a list of them; none where the record lacks it. Raises BadEdit."""
    value = record.get(key, [])
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(item, str) for item in values):
        raise BadEdit(f"'{key}' is not a list of texts; check the record and the format")
    return values


def mapping(record: Fields, key: str, default: Fields | None = None) -> Fields:
    """The object of a field; `default` where the record lacks it. Raises BadEdit for any other type."""
    value = record.get(key, default)
    if not isinstance(value, dict):
        raise BadEdit(f"'{key}' is {kind(value)}, not an object; check the record and the format")
    return value


def mappings(record: Fields, key: str) -> list[Fields]:
    """The objects of a field that is a list of them. Raises BadEdit for any other type, and where it is missing."""
    value = record.get(key)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise BadEdit(f"'{key}' is not a list of objects; check the record and the format")
    return value


def drop_empty(record: Fields, required: Collection[str]) -> Fields:
    """Leave out fields that hold an empty text or list, as forms and spreadsheets write what is not set.

    Lists lose their empty texts, and objects in lists their empty fields.

    Args:
        record: the fields of a JSON object.
        required: fields that stay, and are refused by whoever reads them.
    """
    full = {name: value if name in required else _without_empty(value, required) for name, value in record.items()}
    return {name: value for name, value in full.items() if name in required or not _is_empty(value)}


def _without_empty(value: Any, required: Collection[str]) -> Any:
    if not isinstance(value, list):
        return value
    items = [drop_empty(item, required) if isinstance(item, dict) else item for item in value]
    return [item for item in items if not _is_empty(item)]


def _is_empty(value: Any) -> bool:
    return value == [] or (isinstance(value, str) and not value.strip())


def identifier(record: Fields, key: str) -> str | None:
    """A record's own name, published as a text or a number; None where the record lacks it."""
    return str(record[key]) if key in record else None


def first_answer(answers: Any) -> str | None:
    """The first name of the first answer: published files have "x", ["x", "y"] or [["x", "alias"], ["y"]].

    Raises:
        BadEdit: the answer is no text.
    """
    while isinstance(answers, list):
        answers = next((item for item in answers if item), None)
    if answers is not None and not isinstance(answers, str):
        raise BadEdit(f"an answer is {kind(answers)}, not text; check the record and the format")
    return answers


def kind(value: Any) -> str:
    """What a JSON value is, in words, for messages; None reads as "missing"."""
    names = {type(None): "missing", str: "text", list: "a list", dict: "an object", bool: "true or false"}
    return names.get(type(value), "a number")
