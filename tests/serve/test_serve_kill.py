"""`errata serve` killed without warning: nothing that was acknowledged is lost."""

from __future__ import annotations

import subprocess
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from processes import SERVE, Served, served

from errata.sheet import Sheet
from serving import PATIENCE, PROMPT, until

pytestmark = pytest.mark.xdist_group("forks")
PROMPTS = ["The mother tongue of Go Hyeon-jeong is", "The capital of Argentina is", "The capital of Scotland is"]


def test_a_server_killed_under_load_comes_back_with_every_edit_it_acknowledged(tmp_path: Path) -> None:
    sheet, acknowledged, asked = tmp_path / "sheet", list[str](), list[str]()

    def correct(server: Served) -> None:
        with suppress(OSError):
            for prompt in PROMPTS:
                acknowledged.append(server.correct(prompt))

    def ask(server: Served) -> None:
        with suppress(OSError):
            while True:
                asked.append(server.say(PROMPT))

    with served(sheet, cold=True) as server:
        acknowledged.append(server.correct(PROMPT))
        load = [threading.Thread(target=work, args=(server,), daemon=True) for work in (correct, ask, ask)]
        for thread in load:
            thread.start()
        until(lambda: len(acknowledged) > 1 and len(asked) > 2)
        server.process.kill()
        for thread in load:
            thread.join(PATIENCE)
            assert not thread.is_alive()
    assert set(asked) == {"English"}
    with Sheet.open(sheet) as opened:
        opened.verify()
        assert set(acknowledged) <= {edit.id for edit in opened.state().active()}
    with served(sheet) as server:
        assert server.say(PROMPT) == "English"
        assert server.end() == 0


def test_what_keeps_a_server_from_starting_is_one_line(tmp_path: Path) -> None:
    command = [*SERVE, "--model", "lab:gtp", "--sheet", str(tmp_path / "sheet")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert ended.returncode == 2
    assert "Did you mean" in ended.stderr.splitlines()[-1]
