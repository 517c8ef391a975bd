"""Files of records: JSON Lines, JSON arrays and gzip, and the published layouts of editing benchmarks.

Turns a file into records that know their place in it, and a published record into the JSON form of an edit.
It does not know what makes an edit valid: that is `errata.edits`.
"""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from errata import fields
from errata.errors import BadEdit, unknown_name
from errata.fields import Fields

NATIVE = "errata"
GZIP_MAGIC = b"\x1f\x8b"


class Record(NamedTuple):
    """One JSON value of a file and where it stands: "FILE:LINE", or "FILE: record N" in a JSON array."""

    place: str
    value: Any


@contextmanager
def located(place: str) -> Iterator[None]:
    """A BadEdit raised inside begins with the place of the record it is about."""
    try:
        yield
    except BadEdit as error:
        raise BadEdit(f"{place}: {error}") from None


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
        raise BadEdit(f"a {layout} record is a JSON object, not {fields.kind(value)}; check the format")
    read, _ = LAYOUTS[layout]
    return _clean(read(value))


# The published layouts


def _counterfact(record: Fields) -> Fields:
    """ROME's schema (Meng et al., 2022), where neighbourhood prompts share the true object, and EasyEdit's additions.

    Distracting prompts put the edited fact before a neighbour (Hoelscher-Obermaier et al., 2023).
    """
    rewrite = fields.mapping(record, "requested_rewrite")
    template, subject = fields.text(rewrite, "prompt"), fields.text(rewrite, "subject")
    if "{}" not in template:
        raise BadEdit("'requested_rewrite.prompt' has no {}; write {} where the subject belongs")
    true = fields.text(fields.mapping(rewrite, "target_true"), "str").strip()
    target = fields.text(fields.mapping(rewrite, "target_new"), "str")
    locality = [_probe(prompt, true, "neighbour") for prompt in fields.texts(record, "neighborhood_prompts")]
    distracting = fields.texts(record, "distracting_neighborhood_prompts")
    locality += [_probe(prompt, true, "distractor") for prompt in distracting]
    if "unrelated_relation" in record:
        other = fields.mapping(record, "unrelated_relation")
        locality.append(_probe(fields.text(other, "question"), fields.text(other, "object"), "same_subject"))
    portability = _one_hop(record)
    if "alternative_subject" in record:
        alias = template.replace("{}", fields.text(record, "alternative_subject"), 1)
        portability.append(_probe(alias, target, "alias"))
    return {
        "prompt": template.replace("{}", subject, 1),
        "target": target,
        "subject": subject,
        "ground_truth": true,
        "rephrases": fields.texts(record, "paraphrase_prompts"),
        "locality": locality,
        "portability": portability,
        "id": fields.identifier(record, "case_id"),
    }


def _easyedit(record: Fields) -> Fields:
    """EasyEdit's flat CounterFact and KnowEdit's zsRE, wiki_recent and wiki_counterfact."""
    true = fields.first_answer(record.get("ground_truth"))
    locality = _groups(record, "locality")
    if "locality_prompt" in record:
        answer = fields.first_answer(record.get("locality_ground_truth"))
        locality.append(_lone_probe(fields.text(record, "locality_prompt"), answer, true))
    return {
        "prompt": fields.text(record, "prompt"),
        "target": fields.text(record, "target_new"),
        "subject": fields.text(record, "subject", ""),
        "ground_truth": true,
        "rephrases": [*fields.texts(record, "rephrase_prompt"), *fields.texts(record, "rephrase")],
        "locality": locality,
        "portability": _groups(record, "portability"),
        "id": fields.identifier(record, "case_id"),
    }


def _zsre(record: Fields) -> Fields:
    """MEND's zsRE (Mitchell et al., 2022): `alt` is to be learnt, `answers` are true, `pred` is a model's."""
    true, target = fields.first_answer(record.get("answers")), fields.text(record, "alt")
    answer = fields.first_answer(record.get("loc_ans"))
    portability = _one_hop(record)
    if "alter_subject_question" in record:
        portability.append(_probe(fields.text(record, "alter_subject_question"), target, "alias"))
    return {
        "prompt": fields.text(record, "src"),
        "target": target,
        "subject": fields.text(record, "subject", ""),
        "ground_truth": true,
        "rephrases": fields.texts(record, "rephrase"),
        "locality": [_lone_probe(fields.text(record, "loc", ""), answer, true)],
        "portability": portability,
        "id": fields.identifier(record, "case_id"),
    }


def _wikibio(record: Fields) -> Fields:
    """KnowEdit's WikiBio: the sentence to write after a passage that starts a biography."""
    return _easyedit(
        {
            "prompt": fields.text(record, "text"),
            "target_new": fields.text(record, "labels"),
            "subject": fields.text(record, "concept"),
            "locality": fields.mapping(record, "locality", {}),
        }
    )


def _canonical(record: Fields) -> Fields:
    """Canonical examples (Hewitt et al., 2024): one way to go on, or two, of which the first is to be the likelier.

    The published files do not say what is wanted; where it is something else, the caller knows.
    """
    paired = "suffix" not in record
    return {
        "prompt": fields.text(record, "prefix"),
        "target": fields.text(record, "suffix1" if paired else "suffix"),
        "goal": "contrast" if paired else "raise",
        "rival": fields.text(record, "suffix2") if paired else None,
        "subject": "", "ground_truth": None, "rephrases": [], "locality": [], "portability": [], "id": None,
    }  # fmt: skip


LAYOUTS: dict[str, tuple[Callable[[Fields], Fields], frozenset[str]]] = {
    "counterfact": (_counterfact, frozenset({"requested_rewrite"})),
    "zsre": (_zsre, frozenset({"src", "alt"})),
    "wikibio": (_wikibio, frozenset({"text", "labels", "concept"})),
    "easyedit": (_easyedit, frozenset({"prompt", "target_new"})),
    "canonical": (_canonical, frozenset({"prefix"})),
}


# Probes

# KnowEdit's groups in the words of `errata.edits.Probe.kind`; a group with another name keeps it.
KINDS = {
    "Relation_Specificity": "same_subject",
    "Forgetfulness": "forgetfulness",
    "Reasoning": "one_hop",
    "Subject_Aliasing": "alias",
    "Logical_Generalization": "logical",
}


def _probe(prompt: str, answer: str | None, kind: str | None) -> Fields:
    return {"prompt": prompt, "answer": answer, "kind": kind}


def _groups(record: Fields, key: str) -> list[Fields]:
    """The probes of KnowEdit's blocks: groups by name, each a list of prompts with their answers."""
    groups = fields.mapping(record, key, {})
    return [
        _probe(
            fields.text(probe, "prompt"),
            fields.first_answer(probe.get("ground_truth")),
            KINDS.get(name, name.strip().lower()),
        )
        for name in groups
        for probe in fields.mappings(groups, name)
    ]


def _lone_probe(prompt: str, answer: str | None, true: str | None) -> Fields:
    """A locality probe without a name: CounterFact's share the true object, MEND's come from Natural Questions."""
    if prompt.startswith("nq question"):
        return _probe(prompt, answer, "unrelated")
    return _probe(prompt, answer, "neighbour" if answer is not None and answer == true else None)


def _one_hop(record: Fields) -> list[Fields]:
    """The question that EasyEdit's one-hop files add to a case (Yao et al., 2023)."""
    block = fields.mapping(record, "portability", {})
    if "New Question" not in block:
        return []
    return [_probe(fields.text(block, "New Question"), fields.text(block, "New Answer"), "one_hop")]


def _clean(edit: Fields) -> Fields | None:
    """The same edit without the blemishes of published files: outer spaces, empty texts, other spellings."""
    prompt, target = edit["prompt"].strip(), edit["target"].strip()
    if not prompt or not target:
        return None
    return {
        "prompt": prompt,
        "target": target,
        "subject": _spelt_as_in(prompt, edit["subject"].strip()),
        "ground_truth": (edit["ground_truth"] or "").strip() or None,
        "rephrases": [text.strip() for text in edit["rephrases"] if text.strip()],
        "locality": _clean_probes(edit["locality"]),
        # a consequence without an answer says nothing about the edit
        "portability": [probe for probe in _clean_probes(edit["portability"]) if probe["answer"]],
        "id": edit["id"],
        "goal": edit.get("goal"),
        "rival": (edit.get("rival") or "").strip() or None,
    }


def _clean_probes(probes: list[Fields]) -> list[Fields]:
    return [
        _probe(probe["prompt"].strip(), (probe["answer"] or "").strip() or None, probe["kind"] or None)
        for probe in probes
        if probe["prompt"].strip()
    ]


def _spelt_as_in(prompt: str, subject: str) -> str | None:
    if subject in prompt:
        return subject or None
    start = prompt.lower().find(subject.lower())
    spelt = prompt[start : start + len(subject)]
    return spelt if start >= 0 and spelt.lower() == subject.lower() else None


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
        for number, line in enumerate(text.split("\n"), start=1)  # splitlines would also split inside JSON strings
        if line.strip()
    ]


def _parse(path: str | os.PathLike[str], first_line: int, text: str, remedy: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = first_line + error.lineno - 1
        raise BadEdit(f"{path}:{line}: not valid JSON at column {error.colno} ({error.msg}); {remedy}") from None
    except (ValueError, RecursionError):  # a number of thousands of digits, thousands of brackets
        raise BadEdit(f"{path}:{first_line}: the JSON holds a value too large to read; {remedy}") from None
