"""`errata serve` as its users start it, killed without warning: nothing that was acknowledged is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from errata.sheet import Sheet
from serving import PATIENCE, PROMPT, call, until

KEY = {"Authorization": "Bearer sesame"}
SERVE = (sys.executable, "-m", "errata.cli", "serve", "--model", "lab:gpt", "--port", "0", "--rate", "0")
PROMPTS = ["The mother tongue of Go Hyeon-jeong is", "The capital of Argentina is", "The capital of Scotland is"]


@contextmanager
def served(sheet: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process and its address, once it is ready."""
    process = subprocess.Popen(
        [*SERVE, "--sheet", str(sheet)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env={**os.environ, "ERRATA_API_KEY": "sesame"},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        url = next(word for word in process.stdout.readline().split() if word.startswith("http://"))
        until(lambda: _is_ready(url))
        yield process, url
    finally:
        process.kill()
        process.wait()


def _is_ready(url: str) -> bool:
    with suppress(OSError):
        return call(f"{url}/readyz", "GET", None, {}).status == 200
    return False


def _correct(url: str, prompt: str) -> list[str]:
    edits = {"edits": [{"prompt": prompt, "target": "English"}]}
    reply = call(f"{url}/v1/edits", "POST", edits, KEY)
    assert reply.status == 200, reply.body
    return reply.body["ids"]


def test_a_server_killed_under_load_comes_back_with_every_edit_it_acknowledged(tmp_path: Path) -> None:
    sheet, acknowledged = tmp_path / "sheet", list[str]()

    def load(url: str) -> None:
        with suppress(OSError):
            for prompt in PROMPTS:
                acknowledged.extend(_correct(url, prompt))

    with served(sheet) as (process, url):
        acknowledged += _correct(url, PROMPT)
        loading = threading.Thread(target=load, args=(url,))
        loading.start()
        until(lambda: len(acknowledged) > 1)
        process.send_signal(signal.SIGKILL)
        loading.join()
    with Sheet.open(sheet) as opened:
        opened.verify()
        assert set(acknowledged) <= {edit.id for edit in opened.state().active()}
    with served(sheet) as (process, url):
        ask = {"model": "lab:gpt@sheet", "prompt": PROMPT, "temperature": 0}
        assert call(f"{url}/v1/completions", "POST", ask, {}).body["choices"][0]["text"].strip() == "English"
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0


def test_what_keeps_a_server_from_starting_is_one_line(tmp_path: Path) -> None:
    ended = subprocess.run([*SERVE[:5], "lab:gtp", "--sheet", tmp_path / "sheet", "--port", "0"],
                           capture_output=True, text=True)  # fmt: skip
    assert ended.returncode == 2
    assert "Did you mean" in ended.stderr.splitlines()[-1]
