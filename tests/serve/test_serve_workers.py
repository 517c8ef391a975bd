"""Where workers come from: a process without threads; any number of them, and another one when it is gone."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from errata.errors import BadSheet, UnknownName
from errata.serve.desk.desk import Desk, WorkerDied
from errata.serve.desk.nursery import Nursery
from serving import nursery, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of other processes in /proc")


def greeted(line: Any) -> int:
    """The process at the other end of a new line."""
    with line.makefile("r") as said:
        return json.loads(said.readline())["ok"]["pid"]


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_workers_are_forked_off_a_process_of_one_thread_and_end_with_their_line() -> None:
    lines = [nursery().worker() for _ in range(2)]
    pids = [greeted(line) for line in lines]
    tends = nursery()._pid
    assert [parent(pid) for pid in pids] == [tends, tends]
    assert len(os.listdir(f"/proc/{tends}/task")) == 1, "a fork copies no other thread than its own"
    lines[0].close()
    until(lambda: not Path(f"/proc/{pids[0]}").exists())
    assert Path(f"/proc/{pids[1]}").exists()
    lines[1].close()


def desk(sheet: Path, **options: Any) -> Desk:
    return Desk({"sheet": str(sheet), "model": "lab:gpt", "journal": None}, waiting=4, timeout=60.0, **options)


def test_a_desk_outlives_its_nursery_and_its_workers(tmp_path: Path) -> None:
    async def work() -> None:
        gone = Nursery.spawned()
        gone.close()
        opened = desk(tmp_path / "sheet", nursery=gone)
        await opened.start()
        await opened.open()
        first = opened.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        while opened.pid is not None:  # its end has not been heard of yet
            await asyncio.sleep(0.01)
        with pytest.raises(UnknownName):
            await opened.do("change", kind="undo", ids=["e1"], dry_run=True, who=None)
        assert opened.pid not in (None, first)
        tends = parent(opened.pid or 0)
        await opened.stop()
        assert opened.pid is None
        until(lambda: not Path(f"/proc/{tends}").exists())

    asyncio.run(work())


def test_what_keeps_a_worker_from_opening_its_sheet_is_told(tmp_path: Path) -> None:
    async def work() -> None:
        opened = Desk(
            {"sheet": str(tmp_path / "none"), "model": None, "journal": None}, waiting=1, timeout=60.0,
            nursery=nursery(),
        )  # fmt: skip
        await opened.start()
        with pytest.raises(BadSheet, match="there is no sheet"):
            await opened.open()
        assert opened.pid is None
        await opened.stop()

    asyncio.run(work())


def test_a_change_whose_worker_dies_under_it_is_told_so(tmp_path: Path) -> None:
    async def work() -> None:
        opened = desk(tmp_path / "sheet", nursery=nursery())
        await opened.start()
        await opened.open()
        edits, options = [{"prompt": "The capital of Scotland is", "target": "Paris"}], {"steps": 1_000_000, "lr": 1e-9}
        asking = asyncio.create_task(
            opened.do("edit", edits=edits, options=options, method="grace", dry_run=False, gate=None, who=None)
        )
        while not opened.waiting:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        assert opened.pid is not None
        os.kill(opened.pid, signal.SIGKILL)
        with pytest.raises(WorkerDied):
            await asking
        assert opened.deaths == 1
        await opened.stop()

    asyncio.run(work())
