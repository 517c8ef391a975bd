"""Shorthands for tests that write errata sheets."""

from __future__ import annotations

import hashlib
from typing import Any

from errata.journal.events import Outcome, PatchFile, Recipe
from errata.journal.history import Change
from errata.sheet import Sheet

BASE = {"name": "lab:gpt", "fingerprint": "f" * 64, "task": "causal"}
GRACE = Recipe("grace", {"radius": 1.0}, seed=3)


def write_patch(sheet: Sheet, name: str, content: bytes = b"patch") -> PatchFile:
    (sheet.patches / name).write_bytes(content)
    return PatchFile(name, hashlib.sha256(content).hexdigest())


def add(sheet: Sheet, *prompts: str, **more: Any) -> int:
    """Applies one edit for each prompt, all in one unit whose file carries the number of its event."""
    state = sheet.state()
    ids = state.next_ids(len(prompts))
    outcomes = [Outcome(id, {"prompt": p, "target": "t"}) for id, p in zip(ids, prompts, strict=True)]
    file = write_patch(sheet, f"{state.head + 1}.safetensors", ids[0].encode())
    return sheet.record_apply(outcomes, GRACE, expect_head=state.head, patch=file, **more)


def change(sheet: Sheet, kind: Any, *ids: str, **more: Any) -> Change:
    return sheet.record_change(kind, ids, expect_head=sheet.state().head, **more)


def statuses(sheet: Sheet) -> dict[str, str]:
    return {id: edit.status for id, edit in sheet.state().edits.items()}
