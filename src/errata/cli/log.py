"""`errata log`: what happened to a sheet, oldest first. Reads the journal only."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from errata.cli import _common as common

if TYPE_CHECKING:
    from errata.journal.events import Event
    from errata.journal.history import State

OUTCOME = {"undo": "undone", "redo": "redone"}


@click.command()
@common.sheet_option
@common.json_option
def command(sheet: Path, as_json: bool) -> None:
    """Every event of a sheet, a line for each edit it touched."""
    with common.open_sheet(sheet) as opened:
        state = opened.state()
        rows = [row for event in opened.events() for row in _rows(event, state)]
    if as_json:
        common.print_json(rows)
        return
    for row in rows:
        click.echo(_line(row))
    if not rows:
        click.echo("no events yet")


def _rows(event: Event, state: State) -> list[dict[str, Any]]:
    head = {"seq": event.seq, "time": event.time, "who": event.who, "event": event.kind}
    if event.kind == "export":
        return [{**head, "id": None, "status": "exported", "detail": dict(event.payload["detail"])}]
    if event.kind == "apply":
        outcomes = {item["id"]: (item["status"], item.get("reason")) for item in event.payload["edits"]}
    else:
        outcomes = dict.fromkeys(event.payload["ids"], (OUTCOME[event.kind], None))
    return [
        {
            **head,
            "id": id,
            "method": state.edits[id].method,
            "status": status,
            "now": state.edits[id].status,
            **common.prompt_row(state.edits[id].prompt),
            "target": state.edits[id].target,
            "goal": state.edits[id].edit.get("goal"),
            "rival": state.edits[id].edit.get("rival"),
            "reason": reason,
        }
        for id, (status, reason) in outcomes.items()
    ]


def _line(row: dict[str, Any]) -> str:
    when = f"{row['time'][:19]}  {row['event']}"
    if row["id"] is None:
        return f"{when}  " + " ".join(f"{key}={value}" for key, value in row["detail"].items())
    what = common.told(row["prompt"], row["target"], row["goal"], row["rival"])
    text = f"{when}  {row['id']}  {row['method']}  {row['status']}  {what}"
    return f"{text}  ({row['reason']})" if row["reason"] else text
