"""`sheet.json`, the card of a sheet: its format and the base model that it corrects.

Knows that one file and what a base model must state; nothing of models themselves.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from errata.durable import write_synced
from errata.errors import BadSheet

CARD = "sheet.json"
FORMAT = 1
BASE_KEYS = ("name", "fingerprint", "task")


def write_card(path: Path, base: Mapping[str, Any]) -> None:
    """Writes the card of a sheet that is being laid out; it never changes afterwards."""
    write_synced(path, json.dumps({"format": FORMAT, "base": dict(base)}, indent=2).encode() + b"\n")


def read_card(path: Path) -> dict[str, Any]:
    """The base model. Raises BadSheet when the card is damaged or of a newer format."""
    try:
        content = json.loads(path.read_bytes())
        found, base = content["format"], dict(content["base"])
        newer = found > FORMAT
    except (ValueError, KeyError, TypeError) as error:
        raise BadSheet(f"{path} is damaged; restore the sheet from a copy") from error
    if newer:
        raise BadSheet(f"{path} has format {found}, this Errata reads {FORMAT} at most; upgrade Errata")
    check_base(base, path)
    return base


def check_base(base: Mapping[str, Any], path: Path) -> None:
    """Raises BadSheet when the base model's name, fingerprint or task is not there as text."""
    for key in BASE_KEYS:
        if not isinstance(base.get(key), str):
            raise BadSheet(f"{path} has no {key!r} of its base model; give {', '.join(BASE_KEYS)} as text")
