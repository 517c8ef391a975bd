"""Files of records: JSON Lines, JSON arrays and gzip, and the published layouts of editing benchmarks.

Turns a file into records that know their place in it, and a published record into the JSON form of an edit.
It does not know what makes an edit valid: that is `errata.edits`.
"""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from errata.errors import BadEdit, unknown_name

NATIVE = "errata"
GZIP_MAGIC = b"\x1f\x8b"

Fields = dict[str, Any]


class Record(NamedTuple):
    """One JSON value of a file and where it stands: "FILE:LINE", or "FILE: record N" in a JSON array."""

    place: str
    value: Any


def read_records(path: str | os.PathLike[str]) -> list[Record]:
    """Every record of a JSON Lines file or a JSON array, gzipped or not; blank lines are skipped.

    Raises:
        BadEdit: the file cannot be read, is no UTF-8 or JSON, is a truncated gzip, or holds no record.
    """
    text = _read_text(Path(path))
    records = _array(path, text) if text.lstrip().startswith("[") else _lines(path, text)
    if not records:
        raise BadEdit(f"{path}: the file is empty; write one JSON object per line")
    return records


def resolve_format(name: str, records: Sequence[Record]) -> str:
    """The format `name`; "auto" becomes the one whose own fields the first record has, else the native one.

    Raises:
        UnknownName: no such format.
    """
    if name == "auto":
        value = records[0].value
        present = value.keys() if isinstance(value, dict) else frozenset()
        return next((layout for layout, (_, marks) in LAYOUTS.items() if marks <= present), NATIVE)
    if name != NATIVE and name not in LAYOUTS:
        raise unknown_name("format", name, ["auto", NATIVE, *LAYOUTS])
    return name


def translate(layout: str, value: Any) -> Fields | None:
    """The JSON form of the edit that a record of a published layout asks for.

    None for a record that asks for nothing (no prompt or no target), of which published files hold a few.

    Raises:
        BadEdit: the record has another shape.
    """
    if not isinstance(value, dict):
        raise BadEdit(f"a {layout} record is a JSON object, not {_kind(value)}; check the format")
    read, _ = LAYOUTS[layout]
    return _clean(read(value))


# The published layouts


def _counterfact(record: Fields) -> Fields:
    """ROME's schema (Meng et al., 2022): neighbourhood prompts share the true object."""
    rewrite = _object(record, "requested_rewrite")
    template, subject = _text(rewrite, "prompt"), _text(rewrite, "subject")
    if "{}" not in template:
        raise BadEdit("'requested_rewrite.prompt' has no {}; write {} where the subject belongs")
    true = _text(_object(rewrite, "target_true"), "str").strip()
    return {
        "prompt": template.replace("{}", subject, 1),
        "target": _text(_object(rewrite, "target_new"), "str"),
        "subject": subject,
        "ground_truth": true,
        "rephrases": _texts(record, "paraphrase_prompts"),
        "locality": [{"prompt": prompt, "answer": true} for prompt in _texts(record, "neighborhood_prompts")],
        "id": _case(record),
    }


def _easyedit(record: Fields) -> Fields:
    """EasyEdit's flat CounterFact and KnowEdit's zsRE, wiki_recent and wiki_counterfact."""
    groups = _object(record, "locality", {})
    locality = [
        {"prompt": _text(probe, "prompt"), "answer": _first(probe.get("ground_truth"))}
        for name in groups
        for probe in _objects(groups, name)
    ]
    if "locality_prompt" in record:
        answer = _first(record.get("locality_ground_truth"))
        locality.append({"prompt": _text(record, "locality_prompt"), "answer": answer})
    return {
        "prompt": _text(record, "prompt"),
        "target": _text(record, "target_new"),
        "subject": _text(record, "subject", ""),
        "ground_truth": _first(record.get("ground_truth")),
        "rephrases": [*_texts(record, "rephrase_prompt"), *_texts(record, "rephrase")],
        "locality": locality,
        "id": _case(record),
    }


def _zsre(record: Fields) -> Fields:
    """MEND's zsRE (Mitchell et al., 2022): `alt` is to be learnt, `answers` are true, `pred` is a model's."""
    locality = [{"prompt": _text(record, "loc", ""), "answer": _first(record.get("loc_ans"))}]
    return {
        "prompt": _text(record, "src"),
        "target": _text(record, "alt"),
        "subject": _text(record, "subject", ""),
        "ground_truth": _first(record.get("answers")),
        "rephrases": _texts(record, "rephrase"),
        "locality": locality,
        "id": _case(record),
    }


def _wikibio(record: Fields) -> Fields:
    """KnowEdit's WikiBio: the sentence to write after a passage that starts a biography."""
    return _easyedit(
        {
            "prompt": _text(record, "text"),
            "target_new": _text(record, "labels"),
            "subject": _text(record, "concept"),
            "locality": _object(record, "locality", {}),
        }
    )


LAYOUTS: dict[str, tuple[Callable[[Fields], Fields], frozenset[str]]] = {
    "counterfact": (_counterfact, frozenset({"requested_rewrite"})),
    "zsre": (_zsre, frozenset({"src", "alt"})),
    "wikibio": (_wikibio, frozenset({"text", "labels", "concept"})),
    "easyedit": (_easyedit, frozenset({"prompt", "target_new"})),
}


# Fields of a record, each read with the type it must have


def _text(record: Fields, key: str, default: str | None = None) -> str:
    value = record.get(key, default)
    if not isinstance(value, str):
        raise BadEdit(f"'{key}' is {_kind(value)}, not text; check the record and the format")
    return value


def _texts(record: Fields, key: str) -> list[str]:
    value = record.get(key, [])
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(item, str) for item in values):
        raise BadEdit(f"'{key}' is not a list of texts; check the record and the format")
    return values


def _object(record: Fields, key: str, default: Fields | None = None) -> Fields:
    value = record.get(key, default)
    if not isinstance(value, dict):
        raise BadEdit(f"'{key}' is {_kind(value)}, not an object; check the record and the format")
    return value


def _objects(record: Fields, key: str) -> list[Fields]:
    value = record[key]
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise BadEdit(f"'{key}' is not a list of objects; check the record and the format")
    return value


def _first(answers: Any) -> str | None:
    """The first name of the first answer: published files have "x", ["x", "y"] or [["x", "alias"], ["y"]]."""
    while isinstance(answers, list):
        answers = next((item for item in answers if item), None)
    if answers is not None and not isinstance(answers, str):
        raise BadEdit(f"an answer is {_kind(answers)}, not text; check the record and the format")
    return answers


def _case(record: Fields) -> str | None:
    return str(record["case_id"]) if "case_id" in record else None


def _clean(fields: Fields) -> Fields | None:
    """The same edit without the blemishes of published files: outer spaces, empty texts, other spellings."""
    prompt, target = fields["prompt"].strip(), fields["target"].strip()
    if not prompt or not target:
        return None
    probes = [
        {"prompt": probe["prompt"].strip(), "answer": (probe["answer"] or "").strip() or None}
        for probe in fields["locality"]
    ]
    return {
        "prompt": prompt,
        "target": target,
        "subject": _spelt_as_in(prompt, fields["subject"].strip()),
        "ground_truth": (fields["ground_truth"] or "").strip() or None,
        "rephrases": [text.strip() for text in fields["rephrases"] if text.strip()],
        "locality": [probe for probe in probes if probe["prompt"]],
        "id": fields["id"],
    }


def _spelt_as_in(prompt: str, subject: str) -> str | None:
    if subject in prompt:
        return subject or None
    start = prompt.lower().find(subject.lower())
    spelt = prompt[start : start + len(subject)]
    return spelt if start >= 0 and spelt.lower() == subject.lower() else None


def _kind(value: Any) -> str:
    names = {type(None): "missing", str: "text", list: "a list", dict: "an object", bool: "true or false"}
    return names.get(type(value), "a number")


# Bytes to records


def _read_text(path: Path) -> str:
    try:
        raw = path.read_bytes()
        content = gzip.decompress(raw) if raw.startswith(GZIP_MAGIC) else raw
        return content.decode("utf-8-sig")  # editors on Windows put a byte-order mark first
    except UnicodeDecodeError as error:
        raise BadEdit(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from None
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise BadEdit(f"{path}: the gzip data is cut short or damaged; copy the file again") from None
    except OSError as error:
        raise BadEdit(f"{path}: cannot be read ({error.strerror}); check the path") from None


def _array(path: str | os.PathLike[str], text: str) -> list[Record]:
    values = _parse(path, 1, text, "close every bracket of the array, or write one object per line")
    return [Record(f"{path}: record {number}", value) for number, value in enumerate(values, start=1)]


def _lines(path: str | os.PathLike[str], text: str) -> list[Record]:
    return [
        Record(f"{path}:{number}", _parse(path, number, line, "write one JSON object per line"))
        for number, line in enumerate(
            text.split("\n"), start=1
        )  # splitlines would also split inside JSON strings
        if line.strip()
    ]


def _parse(path: str | os.PathLike[str], first_line: int, text: str, remedy: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = first_line + error.lineno - 1
        raise BadEdit(
            f"{path}:{line}: not valid JSON at column {error.colno} ({error.msg}); {remedy}"
        ) from None
    except (ValueError, RecursionError):  # a number of thousands of digits, thousands of brackets
        raise BadEdit(f"{path}:{first_line}: the JSON holds a value too large to read; {remedy}") from None
