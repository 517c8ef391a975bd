"""Small files in the published form of data sets that may not be in the package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def save_lines(path: Path, *records: Any) -> Path:
    """A JSON Lines file; its folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path
