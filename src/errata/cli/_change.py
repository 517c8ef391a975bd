"""What `errata undo` and `errata redo` have in common: ask the Editor, say what changed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import click

from errata.cli import _common as common


def change(
    kind: Literal["undo", "redo"],
    ids: Sequence[str],
    sheet: Path,
    model: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Undo or redo `ids` and print every edit that was named or changed its status."""
    with common.open_editor(sheet, model) as editor:
        before = editor.state
        after = (before.undoing(ids) if kind == "undo" else before.redoing(ids)).after
        outcome = editor.undo(*ids, dry_run=dry_run) if kind == "undo" else editor.redo(*ids, dry_run=dry_run)
    notes = list(outcome.notes)
    rows: list[dict[str, Any]] = [
        {
            "id": id,
            **common.prompt_row(edit.prompt),
            "target": edit.target,
            "before": before.edits[id].status,
            "after": edit.status,
            "named": id in ids,
            "notes": notes,
            "dry_run": dry_run,
        }
        for id, edit in after.edits.items()
        if id in ids or edit.status != before.edits[id].status
    ]
    if as_json:
        common.print_json(rows)
        return
    for row in rows:
        same = row["before"] == row["after"]
        moved = f"{row['after']} already" if same else f"{row['before']} -> {row['after']}"
        click.echo(f"{row['id']}  {moved}  {common.told(row['prompt'], row['target'])}")
    for note in notes:
        click.echo(f"note: {note}")
    if dry_run:
        click.echo("dry run: nothing was written")
