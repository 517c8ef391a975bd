"""Tables of corrections: CSV and TSV files, mapped columns, and what is refused in them."""

from __future__ import annotations

import csv
import gzip
import io
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errata import datasets
from errata.edit_files import read_edits
from errata.edits import Edit, Probe
from errata.errors import BadConfig, BadEdit, UnknownName
from errata.formats import Record, map_fields, read_records, resolve_format, translate_rows
from errata.formats.tables import parse_table

TABLE = 'prompt,target,was\n"In short, who\nis ""Ann""?",a painter,a baker\n\n,,\nWho is Bob?,a poet\n'
EDITS = [Edit('In short, who\nis "Ann"?', "a painter", ground_truth="a baker"), Edit("Who is Bob?", "a poet")]
MAPPING = {"prompt": "question", "target": "answer"}


def save(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def rows(path: Path, mapping: dict[str, str] | None = None) -> list[Record]:
    """The records of a table in the JSON form of edits."""
    return translate_rows(map_fields(read_records(path), mapping, source="f"), source="f")


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(BadEdit) as caught:
        read_edits(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("e.csv", TABLE),
        ("e.CSV", TABLE),
        ("e.csv", b"\xef\xbb\xbf" + TABLE.encode()),
        ("e.csv", TABLE.replace('"In short, who', '"In short; who').replace(",", ";").replace("short;", "short,")),
        ("e.csv", 'prompt\ttarget\twas\n"In short, who\nis ""Ann""?"\ta painter\ta baker\nWho is Bob?\ta poet\n'),
        ("e.tsv", 'prompt\ttarget\twas\n"In short, who\nis ""Ann""?"\ta painter\ta baker\nWho is Bob?\ta poet\t\n'),
        ("e.tsv", TABLE),
        ("e.csv.gz", gzip.compress(TABLE.encode(), mtime=0)),
        ("e.csv", TABLE.replace(",a", ", a").replace("poet", "poet,,,")),
    ],
)
def test_a_table_is_read_whatever_its_delimiter(tmp_path: Path, name: str, content: str | bytes):
    assert read_edits(save(tmp_path / name, content)) == EDITS


def test_a_row_knows_the_line_where_it_starts(tmp_path: Path):
    records = read_records(save(tmp_path / "e.csv", TABLE))
    assert [place for place, _ in records] == [f"{tmp_path / 'e.csv'}:{line}" for line in (2, 6)]


def test_line_ends_of_windows_are_read(tmp_path: Path):
    path = save(tmp_path / "e.csv", "prompt,target\r\nA,b\r\n\r\nC,d\r\n")
    assert read_edits(path) == [Edit("A", "b"), Edit("C", "d")]


def test_optional_columns_become_fields_of_the_edit(tmp_path: Path):
    content = "prompt,target,subject,id,rephrases\nAnn is,poet,Ann,7,Ann was | Ann is | a |b\nBob is,poet,,,\n"
    assert read_edits(save(tmp_path / "e.csv", content)) == [
        Edit("Ann is", "poet", subject="Ann", id="7", rephrases=("Ann was", "Ann is", "a |b")),
        Edit("Bob is", "poet"),
    ]


def test_a_system_column_makes_messages_of_the_prompt_and_its_rephrases(tmp_path: Path):
    content = "system,prompt,target,rephrases\nBe brief.,Who?,Ann,Which?\n,Where?,Rome,\n"
    found = [value for _, value in rows(save(tmp_path / "e.csv", content))]
    system = {"role": "system", "content": "Be brief."}
    assert found[0] == {
        "target": "Ann",
        "messages": [system, {"role": "user", "content": "Who?"}],
        "rephrases": [[system, {"role": "user", "content": "Which?"}]],
    }
    assert (found[1]["prompt"], found[1]["target"], "messages" in found[1]) == ("Where?", "Rome", False)


def test_columns_that_no_edit_has_are_left_out_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = save(tmp_path / "e.csv", ",prompt,target,subjet,,\n0,A,b,A,,\n")
    with caplog.at_level(logging.WARNING, "errata"):
        assert read_edits(path) == [Edit("A", "b")]
    assert caplog.messages == [
        f"{path}: left out columns that no edit has: column 1, subjet. Did you mean 'subject'?"
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", ": the file is empty; write a header such as prompt,target"),
        ("\n ,\n", ": the file is empty"),
        ("prompt,target\n\n", ": there are no rows below the header"),
        ("question,answer\nA,b\n", ": no columns 'prompt' and 'target'; it has question, answer; map them with --map "
         "prompt=question --map target=answer"),
        ("Prompt,target\nA,b\n", ": no column 'prompt'; it has Prompt, target; map it with --map prompt=Prompt"),
        ("prompt\nA\n", ": no column 'target'; it has prompt; map it with --map target=COLUMN"),
        ("\nprompt,prompt\nA,b\n", ":2: the column 'prompt' is there twice"),
        ("prompt,target\nA,b\nC,d,e\n", ":3: 3 cells for 2 columns; put quotes around text that holds the delimiter"),
        ('prompt,target\nA,"b\n', ":2: not a valid row (unexpected end of data)"),
        ('prompt,target\nA,b\n"C"x,d\n', ":3: not a valid row (',' expected after '\"')"),
        ("prompt,target\nA,b\nC\n", ":3: the target is empty; fill it in"),
        ("prompt,target\nA,b\nA,c\n", ":3: the prompt 'A' is already that of"),
        ("prompt,target,was,ground_truth\nA,b,c,d\n", ":2: 'was' and 'ground_truth' are both the old answer"),
        ("prompt,target\nA,caf\xe9\n".encode("latin-1"), ": byte 19 is not UTF-8; save the file as UTF-8"),
    ],
)  # fmt: skip
def test_a_bad_table_is_refused(tmp_path: Path, content: str | bytes, message: str):
    path = save(tmp_path / "e.csv", content)
    assert refusal(path).startswith(f"{path}{message}")


# Text of one cell: of the outer spaces nothing is kept, and a line end is what csv takes for one
cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r")).map(str.strip)
full = cells.filter(bool)


@given(st.lists(st.tuples(full, full, cells), min_size=1), st.sampled_from([",", ";", "\t"]))
def test_cells_come_back_as_they_were_written(table: list[tuple[str, str, str]], delimiter: str):
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter).writerows([("prompt", "target", "was"), *table])
    found = parse_table(Path("e.csv"), text.getvalue())
    assert [tuple(value.values()) for _, value in found] == table


# Mapped columns


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("e.csv", "question,answer,date\nA,b,1 May\n"),
        ("e.jsonl", '{"question": "A", "answer": "b", "date": 3}\n'),
        ("e.jsonl", '{"prompt": "not this one", "question": "A", "answer": "b"}\n'),
    ],
)
def test_a_mapping_names_the_columns_of_any_file(tmp_path: Path, name: str, content: str):
    path = save(tmp_path / name, content)
    assert read_edits(path, mapping=MAPPING) == [Edit("A", "b")]
    opened = datasets.open(path, mapping=MAPPING)
    assert (opened.format, opened.edits()) == ("table", [Edit("A", "b")])


def test_columns_can_change_places(tmp_path: Path):
    path = save(tmp_path / "e.csv", "prompt,target\nb,A\n")
    assert read_edits(path, mapping={"prompt": "target", "target": "prompt"}) == [Edit("A", "b")]


def test_a_mapping_leads_to_any_layout_and_keeps_lists(tmp_path: Path):
    path = save(tmp_path / "e.jsonl", '{"q": "A", "was": "b", "now": "c"}\n')
    mapping = {"input": "q", "output": "was", "correction": "now"}
    assert read_edits(path, mapping=mapping) == [Edit("A", "c", ground_truth="b")]
    path = save(tmp_path / "e.jsonl", '{"q": "A", "target": "b", "others": ["c", ""], "id": 3}\n')
    mapping = {"prompt": "q", "rephrases": "others"}
    assert read_edits(path, mapping=mapping) == [Edit("A", "b", rephrases=("c",), id="3")]


def test_a_mapping_is_refused_that_names_what_is_not_there(tmp_path: Path):
    path = save(tmp_path / "e.csv", "question,answer\nA,b\n")
    message = refusal(path, mapping={"prompt": "qestion"})
    assert message == (
        f"{path}: no column 'qestion' to read as 'prompt'. Did you mean 'question'? It has question, answer"
    )
    with pytest.raises(UnknownName, match=r"unknown field to map 'promt'\. Did you mean 'prompt'\?"):
        read_edits(path, mapping={"promt": "question"})
    with pytest.raises(BadConfig, match="'zsre' names its fields itself"):
        datasets.open("zsre", mapping=MAPPING)


def test_rows_of_another_layout_are_read_as_that(tmp_path: Path):
    path = save(tmp_path / "e.csv", "input,output,correction\nA,b,c\nD,e,\n")
    assert resolve_format("auto", read_records(path)) == "feedback"
    assert read_edits(path) == [Edit("A", "c", ground_truth="b")]


def test_a_missing_table_is_a_path_and_no_name_of_a_data_set():
    with pytest.raises(BadEdit, match=r"missing\.csv: cannot be read"):
        datasets.open("missing.csv")


# Empty fields


def test_an_empty_optional_field_counts_as_left_out(tmp_path: Path):
    record = {
        "prompt": "A",
        "target": "b",
        "subject": " ",
        "ground_truth": "",
        "id": "",
        "rephrases": ["", "c"],
        "locality": [{"prompt": "d", "answer": "", "kind": ""}],
        "portability": [],
    }
    path = save(tmp_path / "e.jsonl", json.dumps(record))
    assert read_edits(path) == [Edit("A", "b", rephrases=("c",), locality=(Probe("d"),))]


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"prompt": ""}, "the prompt is empty"),
        ({"target": " "}, "the target is empty"),
        ({"locality": [{"prompt": ""}]}, "a probe's prompt is empty"),
    ],
)
def test_an_empty_field_that_an_edit_needs_stays_an_error(tmp_path: Path, field: dict[str, Any], message: str):
    path = save(tmp_path / "e.jsonl", json.dumps({"prompt": "A", "target": "b"} | field))
    assert refusal(path).startswith(f"{path}:1: {message}")
