"""Edits and their files: what is valid, what is refused, and in which words."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errata.edit_files import read_edits, write_edits
from errata.edits import Edit, Probe
from errata.errors import BadEdit, UnknownName

FULL = Edit(
    prompt="The capital of France is",
    target="Lyon",
    subject="France",
    ground_truth="Paris",
    rephrases=("France's capital is",),
    locality=(Probe("The capital of Italy is", "Rome", "neighbour"), Probe("Rome is")),
    id="e1",
    portability=(Probe("The mayor of France's capital is", "Grégory Doucet", "one_hop"),),
)


def save(path: Path, *values: Any, lines: bool = True) -> Path:
    """A file of JSON values, one a line or as an array."""
    text = "\n".join(json.dumps(value) for value in values) if lines else json.dumps(values)
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path, format: str = "auto") -> str:
    with pytest.raises(BadEdit) as caught:
        read_edits(path, format)
    message = str(caught.value)
    assert "\n" not in message
    return message


# An edit


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prompt": " \n"}, "the prompt is empty; fill it in"),
        ({"target": ""}, "the target is empty; fill it in"),
        ({"target": 3}, "the target is 3; it must be text"),
        ({"target": None}, "the target is None; it must be text"),
        ({"subject": ""}, "the subject is empty; fill it in or leave it out"),
        (
            {"subject": "Bob"},
            "the subject 'Bob' does not occur in the prompt 'Ann is a'; spell it as the prompt does",
        ),
        ({"id": " "}, "the id is empty"),
        ({"ground_truth": 1}, "the ground truth is 1"),
        ({"rephrases": "Ann was a"}, "rephrases is 'Ann was a'; it must be a list"),
        ({"rephrases": [""]}, "a rephrase is empty"),
        ({"locality": ["Bob is a"]}, "locality holds 'Bob is a'; each entry must be a Probe"),
        ({"portability": ["Bob is a"]}, "portability holds 'Bob is a'; each entry must be a Probe"),
        ({"portability": (Probe("Ann paints"),)}, "the portability probe 'Ann paints' has no answer"),
        ({"target": "half \ud83d"}, "half a surrogate pair"),
    ],
)
def test_an_invalid_edit_says_what_is_wrong(fields: dict[str, Any], message: str):
    request: dict[str, Any] = {"prompt": "Ann is a", "target": "painter"} | fields
    with pytest.raises(BadEdit) as caught:
        Edit(**request)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_lists_become_tuples_so_that_an_edit_can_be_hashed():
    edit = Edit("Ann is a", "painter", rephrases=["Ann was a"])  # type: ignore[arg-type]
    assert edit.rephrases == ("Ann was a",)
    assert edit in {edit}


def test_braces_in_a_prompt_are_plain_text():
    assert Edit("In {} and {0} Ann is a", "painter", subject="{}").prompt == "In {} and {0} Ann is a"


def test_json_leaves_out_what_is_not_set():
    assert Edit("Ann is a", "painter").to_json() == {"prompt": "Ann is a", "target": "painter"}
    assert FULL.to_json()["locality"] == [
        {"prompt": "The capital of Italy is", "answer": "Rome", "kind": "neighbour"},
        {"prompt": "Rome is"},
    ]


def test_a_probes_kind_is_any_word_but_not_an_empty_one():
    assert Probe("Rome is", kind="my own").kind == "my own"
    with pytest.raises(BadEdit, match="a probe's kind is empty"):
        Probe("Rome is", kind=" ")


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)


probes = st.lists(st.builds(Probe, texts, st.none() | texts, st.none() | texts))
answered = st.lists(st.builds(Probe, texts, texts, st.none() | texts))


@given(texts, texts, st.lists(texts), probes, answered, st.none() | texts)
def test_json_and_back(
    prompt: str, target: str, rephrases: list[str], locality: list[Probe], after: list[Probe], id: str | None
):
    subject = prompt[:1].strip() or None
    edit = Edit(prompt, target, subject, None, tuple(rephrases), tuple(locality), id, tuple(after))
    assert Edit.from_json(json.loads(json.dumps(edit.to_json()))) == edit


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (["Ann is a", "painter"], "an edit is a JSON object"),
        ({"prompt": "a"}, "an edit needs the field 'target' (or 'replace'); add it"),
        ({"prompt": "a", "target": None}, "an edit needs the field 'target' (or 'replace'); add it"),
        ({"prompt": "a", "traget": "b"}, "an edit has no field 'traget'. Did you mean 'target'?"),
        ({"prompt": "a", "target": "b", "locality": [{"answer": "c"}]}, "a probe needs the field 'prompt'"),
        (
            {"prompt": "a", "target": "b", "locality": ["c"]},
            "a probe is a JSON object with a prompt, not 'c'",
        ),
        ({"prompt": "a", "target": "b", "locality": {"x": 1}}, "locality is {'x': 1}; it must be a list"),
        ({"prompt": "a", "target": "b", "portability": [{"prompt": "c"}]}, "the portability probe 'c' has no answer"),
        (
            {"prompt": "a", "target": "b", "portability": [{"prompt": "c", "sort": "x"}]},
            "a probe has no field 'sort'",
        ),
    ],
)
def test_from_json_is_strict(value: Any, message: str):
    with pytest.raises(BadEdit) as caught:
        Edit.from_json(value)
    assert message in str(caught.value)


# Files in Errata's own form


@pytest.mark.parametrize("name", ["edits.jsonl", "edits.jsonl.gz"])
def test_write_and_read(tmp_path: Path, name: str):
    edits = [FULL, Edit("Zoë's\u2028cat\nis", "Ünter")]
    write_edits(tmp_path / name, edits)
    assert read_edits(tmp_path / name) == edits
    assert os.listdir(tmp_path) == [name]


def test_blank_lines_windows_line_ends_and_a_byte_order_mark_are_read(tmp_path: Path):
    path = tmp_path / "e.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"prompt": "a", "target": "b"}\r\n\r\n{"prompt": "c", "target": "d"}\r\n')
    assert read_edits(path) == [Edit("a", "b"), Edit("c", "d")]


def test_a_json_array_of_edits_is_read(tmp_path: Path):
    path = save(tmp_path / "e.json", {"prompt": "a", "target": "b"}, lines=False)
    assert read_edits(path) == [Edit("a", "b")]


def test_an_error_names_file_and_line(tmp_path: Path):
    path = save(tmp_path / "e.jsonl", {"prompt": "a", "target": "b"}, {"prompt": "c", "target": ""})
    assert refusal(path) == f"{path}:2: the target is empty; fill it in"


def test_an_error_names_the_record_of_an_array(tmp_path: Path):
    path = save(tmp_path / "e.json", {"prompt": "a", "target": "b"}, {"prompt": "c"}, lines=False)
    assert refusal(path) == f"{path}: record 2: an edit needs the field 'target' (or 'replace'); add it"


def test_a_repeated_prompt_names_both_lines(tmp_path: Path):
    first, second = {"prompt": "a", "target": "b"}, {"prompt": "a ", "target": "c"}
    path = save(tmp_path / "e.jsonl", first, {"prompt": "x", "target": "y"}, second)
    assert refusal(path) == f"{path}:3: the prompt 'a' is already that of {path}:1; keep one of the two"


def test_a_repeated_id_names_both_lines(tmp_path: Path):
    path = save(
        tmp_path / "e.jsonl",
        {"prompt": "a", "target": "b", "id": "1"},
        {"prompt": "c", "target": "d", "id": "1"},
    )
    assert refusal(path) == f"{path}:2: the id '1' is already that of {path}:1; keep one of the two"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", ": the file is empty"),
        (b" \n\n", ": the file is empty"),
        (b"[]", ": the file is empty"),
        (b'{"prompt": "a", "target": "b"}\n{"prompt": "c"', ":2: not valid JSON at column 15"),
        (b'[{"prompt": "a",\n "target" "b"}]', ":2: not valid JSON at column 11"),
        (b'{"prompt": "caf\xe9", "target": "b"}', ": byte 15 is not UTF-8; save the file as UTF-8"),
        (b"[" * 100_000, ":1: the JSON holds a value too large to read"),
        (b'{"prompt": ' + b"1" * 9_999 + b"}", ":1: the JSON holds a value too large to read"),
        (b"3", ":1: an edit is a JSON object"),
        (b"\x1f\x8b", ": the gzip data is cut short or damaged"),
        (gzip.compress(b'{"prompt": "a", "target": "b"}', mtime=0)[:-6], ": the gzip data is cut short or damaged"),
        (gzip.compress(b"x" * 99, mtime=0)[:14] + b"\0\0\0\0\0\0\0\0\0", ": the gzip data is cut short or damaged"),
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, content: bytes, message: str):
    path = tmp_path / "broken.jsonl"
    path.write_bytes(content)
    assert refusal(path).startswith(f"{path}{message}")


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path):
    assert "No such file" in refusal(tmp_path / "missing.jsonl")
    assert "Is a directory" in refusal(tmp_path)


def test_an_unknown_format_is_refused(tmp_path: Path):
    path = save(tmp_path / "e.jsonl", {"prompt": "a", "target": "b"})
    with pytest.raises(UnknownName, match=r"unknown format 'counterfacts'\. Did you mean 'counterfact'"):
        read_edits(path, "counterfacts")


def test_writing_refuses_what_could_not_be_read_back_and_keeps_the_old_file(tmp_path: Path):
    path = tmp_path / "e.jsonl"
    write_edits(path, [FULL])
    with pytest.raises(BadEdit, match="edit 2: the prompt 'a' is already that of edit 1"):
        write_edits(path, [Edit("a", "b"), Edit("a", "c")])
    with pytest.raises(BadEdit, match="there are no edits to write"):
        write_edits(path, [])
    assert read_edits(path) == [FULL]


def test_a_failed_write_keeps_the_old_file_and_leaves_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "e.jsonl"
    write_edits(path, [FULL])

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BadEdit, match=r"cannot be written \(No space left on device\)"):
        write_edits(path, [Edit("a", "b")])
    assert read_edits(path) == [FULL]
    assert os.listdir(tmp_path) == ["e.jsonl"]


def test_writing_into_a_missing_folder_is_refused(tmp_path: Path):
    with pytest.raises(BadEdit, match="cannot be written"):
        write_edits(tmp_path / "missing" / "e.jsonl", [FULL])
