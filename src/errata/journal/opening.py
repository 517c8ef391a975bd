"""Which journal a sheet directory stands on: its own SQLite file, or one in PostgreSQL that its card names.

Knows the two kinds of place, what a new directory holds and how a URL goes with a card; nothing of what is recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from errata.errors import BadSheet
from errata.journal.base import EventStore
from errata.journal.card import CARD, Card, write_card
from errata.journal.database import EXAMPLE, Address
from errata.journal.postgres import PostgresJournal
from errata.journal.store import Journal

JOURNAL = "journal.db"


def lay_out(directory: Path, card: Card) -> None:
    """Fills the directory of a new sheet."""
    (directory / "patches").mkdir()
    if card.journal is None:
        Journal.create(directory / JOURNAL).close()
    write_card(directory / CARD, card)


def open_journal(directory: Path, card: Card, url: str | None) -> EventStore:
    """The journal of the sheet at `directory`. Raises BadSheet, WrongModel, BadConfig."""
    if url is None:
        if card.journal is None:
            return Journal.open(directory / JOURNAL)
        raise BadSheet(f"{directory} is a replica of a sheet in a database; give its journal: {EXAMPLE}")
    if card.journal is None:
        own = f"{directory} has a journal of its own; leave the URL out, or move it into the database"
        raise BadSheet(f"{own}: Editor.open({directory.name!r}).save(NEW_DIRECTORY, journal=URL)")
    address = Address.parse(url)
    if address.sheet not in (None, card.journal):
        raise BadSheet(f"{directory} is a replica of sheet {card.journal!r}, not {address.sheet!r}; choose another")
    return PostgresJournal.open(address, card.journal, card.base)


def register(url: str, base: Mapping[str, Any], default: str) -> str:
    """The name of the sheet that `url` names, or else of `default`, which is in the database on return."""
    address = Address.parse(url)
    name = address.sheet or default
    PostgresJournal.open(address, name, base).close()
    return name
