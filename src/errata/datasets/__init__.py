"""Benchmarks and fact tables by name, and any file of edits by path.

Knows where each data set lies, where it came from and under which licence. What its records mean is known to
`errata.formats`, what is done with them to `errata.evaluate`. A data set is one file here, or a plug-in in
the entry-point group "errata.datasets": a function under `register_dataset` that returns a `Dataset`.
"""

from __future__ import annotations

import os
from pathlib import Path

from errata.datasets._base import DATASETS, Dataset, register_dataset
from errata.errors import BadConfig
from errata.formats import read_records, resolve_format

__all__ = ["Dataset", "get", "names", "open", "register_dataset"]


def names() -> list[str]:
    """The name of every data set, sorted."""
    return DATASETS.names()


def get(name: str) -> Dataset:
    """The data set called `name`. Raises UnknownName when there is none."""
    return DATASETS.get(name)()


def open(name_or_path: str | os.PathLike[str], format: str = "auto") -> Dataset:
    """A data set by its name, or any file of edits by its path; `./name` is always a path.

    Args:
        name_or_path: a name of `names()`, or a file in a format that `errata.edits.read_edits` reads.
        format: the file's format; a data set that has a name knows its own.

    Raises:
        UnknownName: neither a name nor a file; no such format.
        BadEdit: the file cannot be read.
        BadConfig: a format for a data set that has a name.
    """
    text = os.fspath(name_or_path)
    if text in names():
        if format != "auto":
            raise BadConfig(f"data set '{text}' has its own format; leave the format out, or pass a path")
        return get(text)
    path = Path(text)
    if not path.exists() and not _looks_like_path(path, text):
        return get(text)
    return _from_file(path, format)


def _looks_like_path(path: Path, text: str) -> bool:
    return len(path.parts) > 1 or text.startswith(".") or path.suffix in {".json", ".jsonl", ".gz"}


def _from_file(path: Path, format: str) -> Dataset:
    records = read_records(path)
    return Dataset(
        name=path.name,
        description=f"the edits of {path}",
        licence="unknown",
        source=str(path),
        records=len(records),
        path=path,
        format=resolve_format(format, records),
    )
