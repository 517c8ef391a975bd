"""`sheet.json`, the card of a sheet: its format, the base model that it corrects and where its journal is kept.

Knows that one file and what a base model must state; nothing of models themselves or of journals.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from errata.durable import write_synced
from errata.errors import BadSheet

CARD = "sheet.json"
FORMAT = 1
BASE_KEYS = ("name", "fingerprint", "task")


@dataclass(frozen=True, slots=True)
class Card:
    """The base model; `journal` is the sheet's name in the database that keeps its journal, None: kept beside."""

    base: dict[str, Any]
    journal: str | None = None


def write_card(path: Path, card: Card) -> None:
    """Writes the card of a sheet that is being laid out; it never changes afterwards."""
    content: dict[str, Any] = {"format": FORMAT, "base": card.base}
    if card.journal is not None:
        content["journal"] = card.journal
    write_synced(path, json.dumps(content, indent=2).encode() + b"\n")


def read_card(path: Path) -> Card:
    """Raises BadSheet when the card is damaged or of a newer format."""
    try:
        content = json.loads(path.read_bytes())
        found, card = content["format"], Card(dict(content["base"]), content.get("journal"))
        newer = found > FORMAT
    except (ValueError, KeyError, TypeError) as error:
        raise BadSheet(f"{path} is damaged; restore the sheet from a copy") from error
    if newer:
        raise BadSheet(f"{path} has format {found}, this Errata reads {FORMAT} at most; upgrade Errata")
    check_base(card.base, path)
    return card


def check_base(base: Mapping[str, Any], path: Path) -> None:
    """Raises BadSheet when the base model's name, fingerprint or task is not there as text."""
    for key in BASE_KEYS:
        if not isinstance(base.get(key), str):
            raise BadSheet(f"{path} has no {key!r} of its base model; give {', '.join(BASE_KEYS)} as text")
