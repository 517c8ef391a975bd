"""Fields of a record: the type each must have, and the words in which another one is refused."""

from __future__ import annotations

from typing import Any

import pytest

from errata import fields
from errata.errors import BadEdit


def test_fields_of_the_right_type_are_read():
    record = {"a": "x", "b": ["x", "y"], "c": {"d": 1}, "e": [{"f": 2}]}
    assert fields.text(record, "a") == "x"
    assert fields.texts(record, "a") == ["x"]
    assert fields.texts(record, "b") == ["x", "y"]
    assert fields.mapping(record, "c") == {"d": 1}
    assert fields.mappings(record, "e") == [{"f": 2}]


def test_a_missing_field_has_its_default():
    assert fields.text({}, "a", "") == ""
    assert fields.texts({}, "a") == []
    assert fields.mapping({}, "a", {}) == {}
    assert fields.identifier({}, "id") is None
    assert fields.identifier({"id": 0}, "id") == "0"


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda: fields.text({"a": True}, "a"), "'a' is true or false, not text"),
        (lambda: fields.text({}, "a"), "'a' is missing, not text"),
        (lambda: fields.texts({"a": ["x", 1]}, "a"), "'a' is not a list of texts"),
        (lambda: fields.mapping({"a": []}, "a"), "'a' is a list, not an object"),
        (lambda: fields.mappings({"a": ["x"]}, "a"), "'a' is not a list of objects"),
        (lambda: fields.mappings({}, "a"), "'a' is not a list of objects"),
        (lambda: fields.first_answer([[1.5]]), "an answer is a number, not text"),
    ],
)
def test_another_type_is_refused(read: Any, message: str):
    with pytest.raises(BadEdit, match=message):
        read()


@pytest.mark.parametrize(
    ("answers", "first"),
    [("x", "x"), (["x", "y"], "x"), ([["x", "alias"], ["y"]], "x"), ([[], ["y"]], "y"), ([[]], None), (None, None)],
)
def test_the_first_name_of_the_first_answer(answers: Any, first: str | None):
    assert fields.first_answer(answers) == first
