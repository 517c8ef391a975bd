"""`errata status`: where a sheet stands. Reads the journal only."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from errata.cli import _common as common

if TYPE_CHECKING:
    from errata.sheet import Sheet

STATUSES = ("active", "undone", "superseded", "failed")


@click.command()
@common.sheet_option
@common.json_option
def command(sheet: Path, as_json: bool) -> None:
    """Base model, edits by status, methods in force, size and last event of a sheet."""
    with common.open_sheet(sheet) as opened:
        row = _row(opened)
    if as_json:
        common.print_json([row])
        return
    methods = ", ".join(f"{name} ({count})" for name, count in row["methods"].items())
    last = row["last_event"]
    click.echo(f"sheet    {row['sheet']}")
    click.echo(f"model    {row['model']} ({row['task']}, {row['fingerprint'][:12]})")
    click.echo(f"edits    {', '.join(f'{row[status]} {status}' for status in STATUSES)}")
    click.echo(f"methods  {methods or 'none in force'}")
    click.echo(f"patches  {row['patch_bytes']:,} bytes in {row['patch_files']} files")
    when = f"{last['time'][:19]} {last['event']} by {last['who']}" if last else "no events yet"
    click.echo(f"last     {when}")


def _row(sheet: Sheet) -> dict[str, Any]:
    state, events = sheet.state(), sheet.events()
    counts = Counter(edit.status for edit in state.edits.values())
    files = [sheet.file(unit.patch) for unit in state.units]
    last = None
    if events:
        newest = events[-1]
        last = {"seq": newest.seq, "time": newest.time, "event": newest.kind, "who": newest.who}
    return {
        "sheet": str(sheet.path), "model": sheet.base["name"], "task": sheet.base["task"],
        "fingerprint": sheet.base["fingerprint"], **{status: counts[status] for status in STATUSES},
        "methods": dict(Counter(str(edit.method) for edit in state.active())), "patch_files": len(files),
        "patch_bytes": sum(file.stat().st_size for file in files), "events": len(events), "last_event": last,
    }  # fmt: skip
