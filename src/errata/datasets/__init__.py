"""Benchmarks, tasks and fact tables by name, any file of edits by path, and records of the Hugging Face hub.

Knows where each data set lies, where it came from and under which licence. What its records mean is known to
`errata.formats`, what is done with them to `errata.evaluate`. A data set is one file here, or a plug-in in
the entry-point group "errata.datasets": a function under `register_dataset` that returns a `Dataset`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from errata.datasets import _hub
from errata.datasets._base import DATASETS, Dataset, Example, OwnRecords, Task, register_dataset
from errata.errors import BadConfig
from errata.formats import Record, is_table, map_fields, read_records, resolve_format

__all__ = ["Dataset", "Example", "Task", "get", "names", "open", "register_dataset"]


def names() -> list[str]:
    """The name of every data set, sorted."""
    return DATASETS.names()


def get(name: str) -> Dataset:
    """The data set called `name`. Raises UnknownName when there is none."""
    return DATASETS.get(name)()


def open(
    name_or_path: str | os.PathLike[str], format: str = "auto", mapping: Mapping[str, str] | None = None
) -> Dataset:
    """Open a data set by its name, from the user's own copy, from the hub, or any file of edits by its path.

    Args:
        name_or_path: a name of `names()`; "NAME=PLACE", the data set of that name as it lies at a path or hub
            name; "hf:owner/name[/config][#split]", which needs the extra `errata[hub]`; or a file in a format
            that `errata.edit_files.read_edits` reads (`./name` is always a path).
        format: the format of a file or of records on the hub; a data set that has a name knows its own.
        mapping: fields that the records name otherwise, as in `errata.edit_files.read_edits`.

    Raises:
        UnknownName: neither a name nor a file; no such format; no such field to map.
        BadEdit: the file, or the records on the hub, cannot be read.
        BadConfig: a format or mapping for a data set that has a name; a malformed hub name.
    """
    text = os.fspath(name_or_path)
    if text.startswith(_hub.PREFIX):
        return _from_hub(text, format, mapping)
    name, equals, place = text.partition("=")
    if name in names():
        if format != "auto":
            raise BadConfig(f"data set '{name}' has its own format; leave the format out, or pass a path")
        if mapping:
            raise BadConfig(f"data set '{name}' names its fields itself; leave the mapping out, or pass a path")
        return get(name).at(place) if equals else get(name)
    path = Path(text)
    if not path.exists() and not _looks_like_path(path, text):
        return get(text)
    return _from_file(path, format, mapping)


def _looks_like_path(path: Path, text: str) -> bool:
    return len(path.parts) > 1 or text.startswith(".") or path.suffix in {".json", ".jsonl", ".gz"} or is_table(path)


def _from_file(path: Path, format: str, mapping: Mapping[str, str] | None) -> Dataset:
    records = read_records(path)
    return OwnRecords(
        name=path.name,
        description=f"the edits of {path}",
        licence="unknown",
        source=str(path),
        records=len(records),
        path=path,
        format=_resolve(format, records, mapping, str(path)),
        mapping=mapping,
    )


def _from_hub(text: str, format: str, mapping: Mapping[str, str] | None) -> Dataset:
    where = _hub.parse(text)
    records = _hub.records(where)
    return OwnRecords(
        name=text,
        description=f"the edits of {where.name} on the Hugging Face hub",
        licence="unknown",
        source=f"huggingface.co/datasets/{where.repo}",
        records=len(records),
        path=None,
        format=_resolve(format, records, mapping, text),
        hub=where.name,
        mapping=mapping,
    )


def _resolve(format: str, records: list[Record], mapping: Mapping[str, str] | None, source: str) -> str:
    return resolve_format(format, map_fields(records, mapping, source=source))
