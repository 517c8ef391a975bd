"""`errata show`: everything a sheet knows of one edit. Reads the journal only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from errata.cli import _common as common

if TYPE_CHECKING:
    from errata.sheet import Sheet


@click.command()
@click.argument("id")
@common.sheet_option
@common.json_option
def command(id: str, sheet: Path, as_json: bool) -> None:
    """Everything known of one edit."""
    with common.open_sheet(sheet) as opened:
        row = _row(opened, id)
    if as_json:
        common.print_json([row])
        return
    width = max(map(len, row))
    for key, value in row.items():
        if value not in (None, {}, [], ()):
            text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)
            click.echo(f"{key:<{width}}  {text}")


def _row(sheet: Sheet, id: str) -> dict[str, Any]:
    state = sheet.state()
    edit = state.find(id)
    event = sheet.events(edit.seq - 1)[0]
    unit = None if edit.unit is None else state.unit(edit.unit)
    figures = event.payload["figures"]
    return {
        "id": id, "status": edit.status, "reason": edit.reason, "superseded_by": edit.superseded_by,
        **common.prompt_row(edit.prompt),
        **{key: value for key, value in edit.edit.items() if key not in ("id", "prompt", "messages", "raw")},
        "method": event.method, "config": dict(event.config), "seed": event.seed, "event": event.seq,
        "time": event.time, "who": event.who, "versions": dict(event.versions),
        "figures": figures.get("edits", {}).get(id, {}), "batch_seconds": figures.get("seconds"),
        "solved_with": [other for other in unit.edits if other != id] if unit else [],
        "patch": str(sheet.file(unit.patch)) if unit else None, "sha256": unit.patch.sha256 if unit else None,
    }  # fmt: skip
