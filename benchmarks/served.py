"""A server process for benchmarks: started, asked, killed without warning, and what memory it holds."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

KEY = "sesame"
MODEL = "lab:gpt"
PATIENCE = 180.0  # seconds


class Served:
    """`errata serve` on a sheet, ready when this is made. Any thread may call; connections are a thread's own."""

    def __init__(self, sheet: Path) -> None:
        self.sheet = sheet
        out = sheet.with_suffix(".out")
        command = [sys.executable, "-m", "errata.cli", "serve", "--model", MODEL, "--sheet", str(sheet)]
        with out.open("wb") as stdout, sheet.with_suffix(".err").open("ab") as stderr:
            self.process = subprocess.Popen(
                [*command, "--port", "0", "--rate", "0"], stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr,
                env={**os.environ, "ERRATA_API_KEY": KEY},
            )  # fmt: skip
        started = time.monotonic()
        while not (found := re.search(r"http://\S+:(\d+) ", out.read_text())):
            self._waited(started)
        self.port = int(found[1])
        while self._status() != 200:
            self._waited(started)

    def client(self) -> Client:
        return Client(self.port, self.sheet.name)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def megabytes(self) -> dict[str, float]:
        """Memory of the server and of what it started; pages that several of them share are divided among them."""
        others = list(_below(self.process.pid))
        return {"server": _megabytes(self.process.pid), "others": sum(map(_megabytes, others))}

    def kill_worker(self) -> None:
        """Without warning, and wait until the server may know. The worker is what was started last."""
        worker = list(_below(self.process.pid))[-1]
        os.kill(worker, signal.SIGKILL)
        while worker in _below(self.process.pid):
            time.sleep(0.01)
        time.sleep(0.1)

    def _status(self) -> int:
        try:
            return self.client().call("GET", "/readyz")[0]
        except OSError:
            return 0

    def _waited(self, started: float) -> None:
        if self.process.poll() is not None or time.monotonic() - started > PATIENCE:
            raise SystemExit(f"the server did not start: see {self.sheet.with_suffix('.err')}")
        time.sleep(0.1)


class Client:
    """One connection that is kept open."""

    def __init__(self, port: int, sheet: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        self._served = f"{MODEL}@{sheet}"

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
        self._connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        reply = self._connection.getresponse()
        return reply.status, json.loads(reply.read())

    def ask(self, prompts: list[str], *, parent: bool = False) -> tuple[int, list[str]]:
        """The head that answered, and the greedy answers."""
        model = MODEL if parent else self._served
        asked = {"model": model, "prompt": prompts, "temperature": 0, "max_tokens": 24}
        status, body = self.call("POST", "/v1/completions", asked)
        if status != 200:
            raise RuntimeError(f"asking was answered {status}: {body}")
        return body["errata"]["head"], [choice["text"].strip() for choice in body["choices"]]


def _below(pid: int) -> Iterator[int]:
    """Every process that this one started, and that those did."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            yield child
            yield from _below(child)


def _megabytes(pid: int) -> float:
    found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) / 2**10
