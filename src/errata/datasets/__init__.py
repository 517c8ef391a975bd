"""Benchmarks, tasks and fact tables by name, any file of edits by path, and records of the Hugging Face hub.

Knows where each data set lies, where it came from and under which licence. What its records mean is known to
`errata.formats`, what is done with them to `errata.evaluate`. A data set is one file here, or a plug-in in
the entry-point group "errata.datasets": a function under `register_dataset` that returns a `Dataset`.
"""

from __future__ import annotations

import os
from pathlib import Path

from errata.datasets import _hub
from errata.datasets._base import DATASETS, Dataset, Example, OwnRecords, Task, register_dataset
from errata.errors import BadConfig
from errata.formats import read_records, resolve_format

__all__ = ["Dataset", "Example", "Task", "get", "names", "open", "register_dataset"]


def names() -> list[str]:
    """The name of every data set, sorted."""
    return DATASETS.names()


def get(name: str) -> Dataset:
    """The data set called `name`. Raises UnknownName when there is none."""
    return DATASETS.get(name)()


def open(name_or_path: str | os.PathLike[str], format: str = "auto") -> Dataset:
    """A data set by its name, from the user's own copy, from the hub, or any file of edits by its path.

    Args:
        name_or_path: a name of `names()`; "NAME=PLACE", the data set of that name as it lies at a path or hub
            name; "hf:owner/name[/config][#split]", which needs the extra `errata[hub]`; or a file in a format
            that `errata.edit_files.read_edits` reads (`./name` is always a path).
        format: the format of a file or of records on the hub; a data set that has a name knows its own.

    Raises:
        UnknownName: neither a name nor a file; no such format.
        BadEdit: the file, or the records on the hub, cannot be read.
        BadConfig: a format for a data set that has a name; a malformed hub name.
    """
    text = os.fspath(name_or_path)
    if text.startswith(_hub.PREFIX):
        return _from_hub(text, format)
    name, equals, place = text.partition("=")
    if name in names():
        if format != "auto":
            raise BadConfig(f"data set '{name}' has its own format; leave the format out, or pass a path")
        return get(name).at(place) if equals else get(name)
    path = Path(text)
    if not path.exists() and not _looks_like_path(path, text):
        return get(text)
    return _from_file(path, format)


def _looks_like_path(path: Path, text: str) -> bool:
    return len(path.parts) > 1 or text.startswith(".") or path.suffix in {".json", ".jsonl", ".gz"}


def _from_file(path: Path, format: str) -> Dataset:
    records = read_records(path)
    return OwnRecords(
        name=path.name,
        description=f"the edits of {path}",
        licence="unknown",
        source=str(path),
        records=len(records),
        path=path,
        format=resolve_format(format, records),
    )


def _from_hub(text: str, format: str) -> Dataset:
    where = _hub.parse(text)
    records = _hub.records(where)
    return OwnRecords(
        name=text,
        description=f"the edits of {where.name} on the Hugging Face hub",
        licence="unknown",
        source=f"huggingface.co/datasets/{where.repo}",
        records=len(records),
        path=None,
        format=resolve_format(format, records),
        hub=where.name,
    )
