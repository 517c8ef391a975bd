"""Records from the Hugging Face hub, by name: the one place that talks to the library `datasets`.

Knows how a hub name is written and turns rows into records. What a record means is known to `errata.formats`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from errata.errors import BadConfig, BadEdit
from errata.formats import Record

PREFIX = "hf:"


class HubName(NamedTuple):
    """Where records lie on the hub: "owner/name", and which configuration and split of it."""

    repo: str
    config: str | None
    split: str | None

    @property
    def name(self) -> str:
        """The name as it is written, without "hf:"."""
        return self.repo + (f"/{self.config}" if self.config else "") + (f"#{self.split}" if self.split else "")


def parse(text: str) -> HubName:
    """The parts of "hf:owner/name[/config][#split]". Raises BadConfig for any other text."""
    repo, _, split = text.removeprefix(PREFIX).partition("#")
    parts = repo.split("/")
    if len(parts) not in (2, 3) or not all(parts) or (text.endswith("#")):
        raise BadConfig(f"'{text}' is no hub name; write hf:owner/name, hf:owner/name/config or hf:owner/name#split")
    return HubName("/".join(parts[:2]), parts[2] if len(parts) == 3 else None, split or None)


def records(where: HubName) -> list[Record]:
    """Every row of one split, each placed as "hf:NAME: record N"; fields that are null are left out.

    Raises:
        BadEdit: the library is not installed, the data set cannot be loaded, or it has several splits and none
            is named.
    """
    rows = _split(where, _load(where))
    found = [Record(f"{PREFIX}{where.name}: record {number}", _set(row)) for number, row in enumerate(rows, start=1)]
    if not found:
        raise BadEdit(f"{PREFIX}{where.name}: there are no records; choose another split")
    return found


def _load(where: HubName) -> Any:
    try:
        from datasets import load_dataset  # pyright: ignore[reportMissingImports]: the extra `hub`
    except ImportError:
        raise BadEdit(
            f"{PREFIX}{where.name} needs the library `datasets`; install it with: pip install 'errata[hub]'"
        ) from None
    try:
        return load_dataset(where.repo, where.config, split=where.split)
    except Exception as error:  # the library raises whatever its many back ends raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise BadEdit(f"{PREFIX}{where.name}: cannot be loaded ({reason}); check the name and the network") from error


def _split(where: HubName, loaded: Any) -> Any:
    """The rows themselves: without a named split the library returns every split in a dictionary."""
    if not isinstance(loaded, dict):
        return loaded
    if len(loaded) != 1:
        name = PREFIX + where.name
        raise BadEdit(f"{name} has the splits {', '.join(loaded)}; name one, as in {name}#{next(iter(loaded))}")
    return next(iter(loaded.values()))


def _set(value: Any) -> Any:
    """A row without its nulls: a table gives every record all fields, which JSON files leave out."""
    if isinstance(value, dict):
        return {name: _set(item) for name, item in value.items() if item is not None}
    return [_set(item) for item in value] if isinstance(value, list) else value
