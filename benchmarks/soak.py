"""Load, edits, undos and kills on one server: is anything lost, is any answer of a mixed version, does memory grow?

    python benchmarks/soak.py --minutes 10

Askers ask two prompts in one request, which are always edited in one call; an editor edits them anew, and edits, undoes
and redoes others. Again and again the server is killed without warning and started anew. Afterwards every answer is
compared with what the journal says was in force at the head that the answer names, so that two edits of one call that
are seen apart are found, and every acknowledged change is looked up.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any

from costs import cases
from errata.journal.history import State, fold
from errata.sheet import Sheet
from served import Client, Served

ASKERS, PAIRS, SINGLES = 3, 4, 8
TARGETS = ("Paris", "English", "London")
PAUSE = 0.5  # seconds between two changes
LIVES = (0.2, 0.2, 0.6)  # shares of the time; each ends with kill -9


@dataclass
class Record:
    """What was seen: answers as (head, prompt, text), acknowledged changes as (kind, ids, head), memory."""

    answers: list[tuple[int, str, str]] = field(default_factory=list)
    changes: list[tuple[str, list[str], int]] = field(default_factory=list)
    memory: list[dict[str, float]] = field(default_factory=list)
    refused: list[Any] = field(default_factory=list)
    stale: int = 0

    @property
    def head(self) -> int:
        """The newest head that was acknowledged."""
        return self.changes[-1][2] if self.changes else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="of load; starting the servers comes on top")
    minutes: float = parser.parse_args().minutes
    prompts = [edit.prompt for edit in cases(2 * PAIRS + SINGLES)]
    pairs = [(prompts[2 * place], prompts[2 * place + 1]) for place in range(PAIRS)]
    with tempfile.TemporaryDirectory() as directory:
        sheet, record = Path(directory) / "sheet", Record()
        before: list[str] = []
        for share in LIVES:
            server = Served(sheet)
            try:
                _, before = server.client().ask(prompts, parent=True)
                record.memory.clear()
                _life(server, record, pairs, prompts[2 * PAIRS :], 60 * minutes * share)
            finally:
                server.kill()
        print(json.dumps(_verdict(sheet, record, dict(zip(prompts, before, strict=True))), indent=1))


def _life(server: Served, record: Record, pairs: list[tuple[str, str]], singles: list[str], seconds: float) -> None:
    """Load, and then death in the middle of it."""
    over, until = threading.Event(), time.monotonic() + seconds
    jobs: list[Callable[[Client], None]] = [lambda client: _change(client, record, pairs, singles, over)]
    jobs += [lambda client: _ask(client, record, pairs, over)] * ASKERS
    threads = [threading.Thread(target=_guarded, args=(job, server.client(), over)) for job in jobs]
    for thread in threads:
        thread.start()
    while time.monotonic() < until and not over.is_set():
        record.memory.append(server.megabytes())
        time.sleep(2)
    server.process.kill()
    over.set()
    for thread in threads:
        thread.join()


def _guarded(job: Callable[[Client], None], client: Client, over: threading.Event) -> None:
    try:
        job(client)
    except (OSError, HTTPException, ValueError):  # the server was killed under it
        time.sleep(1)
        if not over.is_set():
            over.set()
            raise


def _ask(client: Client, record: Record, pairs: list[tuple[str, str]], over: threading.Event) -> None:
    chance = random.Random()
    while not over.is_set():
        pair, acknowledged = chance.choice(pairs), record.head
        head, texts = client.ask(list(pair))
        record.stale += head < acknowledged
        record.answers += [(head, prompt, text) for prompt, text in zip(pair, texts, strict=True)]


def _change(
    client: Client, record: Record, pairs: list[tuple[str, str]], singles: list[str], over: threading.Event
) -> None:
    chance, ids = random.Random(), dict[str, str]()
    while not over.wait(PAUSE):
        single = chance.choice(singles)
        if chance.random() < 0.5:
            _made(record, client, list(chance.choice(pairs)), chance.choice(TARGETS))
        elif single not in ids:
            (ids[single],) = _made(record, client, [single], chance.choice(TARGETS)) or [""]
        else:
            _turned(record, client, ids, single)
        head, (text,) = client.ask([single])
        record.answers.append((head, single, text))


def _made(record: Record, client: Client, prompts: list[str], target: str) -> list[str]:
    edits = [{"prompt": prompt, "target": target} for prompt in prompts]
    status, body = client.call("POST", "/v1/edits", {"edits": edits})
    if status != 200:
        record.refused.append((status, body))
        return []
    record.changes.append(("apply", body["ids"], body["head"]))
    return body["ids"]


def _turned(record: Record, client: Client, ids: dict[str, str], single: str) -> None:
    """Undo an edit, or redo it."""
    id = ids[single]
    _, row = client.call("GET", f"/v1/edits/{id}")
    if row["status"] not in ("active", "undone"):
        del ids[single]
        return
    kind = "undo" if row["status"] == "active" else "redo"
    method, path = ("DELETE", f"/v1/edits/{id}") if kind == "undo" else ("POST", f"/v1/edits/{id}/redo")
    status, body = client.call(method, path)
    if status != 200:
        record.refused.append((status, body))
    elif body["changed"]:
        record.changes.append((kind, body["changed"], body["head"]))


def _verdict(sheet: Path, record: Record, before: dict[str, str]) -> dict[str, Any]:
    with Sheet.open(sheet) as opened:
        opened.verify()
        events = opened.events()
    states = [State()]
    for event in events:
        states.append(fold([event], states[-1]))
    said = [{edit.prompt: edit.target for edit in state.active()} for state in states]
    wrong = [
        (head, prompt, text, said[head].get(prompt, before[prompt]))
        for head, prompt, text in record.answers
        if text != said[head].get(prompt, before[prompt])
    ]
    lost = [one for one in record.changes if not _recorded(events[one[2] - 1], one)]
    return {
        "events": len(events), "acknowledged": len(record.changes), "lost": len(lost),
        "answers": len(record.answers), "not what their head says": len(wrong),
        "of a head older than acknowledged": record.stale, "refused": len(record.refused), "kills": len(LIVES),
        "megabytes at the middle and the end of the last life": _grown(record.memory),
        "examples": [*wrong, *lost, *record.refused][:5],
    }  # fmt: skip


def _recorded(event: Any, change: tuple[str, list[str], int]) -> bool:
    kind, ids, _ = change
    found = [edit["id"] for edit in event.payload["edits"]] if kind == "apply" else event.payload["ids"]
    return event.kind == kind and set(found) == set(ids)


def _grown(memory: list[dict[str, float]]) -> dict[str, list[float]]:
    """At the middle and at the end."""
    half = memory[len(memory) // 2 :]
    return {name: [round(half[0][name], 1), round(half[-1][name], 1)] for name in half[0]}


if __name__ == "__main__":
    main()
