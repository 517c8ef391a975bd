"""`errata serve` as its users start it: in a process of its own, its words in files beside the sheet."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from serving import PATIENCE, Reply, call, until

KEY = {"Authorization": "Bearer sesame"}
SERVE = (sys.executable, "-m", "errata.cli", "serve", "--port", "0", "--rate", "0")


@dataclass(frozen=True)
class Served:
    """A server process that was started."""

    process: subprocess.Popen[bytes]
    url: str
    sheet: Path

    def call(self, method: str, path: str, body: object = None) -> Reply:
        """One request, with the key that may do everything."""
        return call(self.url + path, method, body, KEY)

    def correct(self, prompt: str, target: str = "English") -> str:
        """An edit that has to work; its id."""
        reply = self.call("POST", "/v1/edits", {"edits": [{"prompt": prompt, "target": target}]})
        assert reply.status == 200, reply.body
        return reply.body["ids"][0]

    def say(self, prompt: str) -> str:
        """The greedy answer, with the sheet's edits."""
        asked = {"model": f"lab:gpt@{self.sheet.name}", "prompt": prompt, "temperature": 0, "max_tokens": 24}
        reply = self.call("POST", "/v1/completions", asked)
        assert reply.status == 200, reply.body
        return reply.body["choices"][0]["text"].strip()

    def ready(self) -> int:
        """Status of /readyz; 0 where nobody answers."""
        with suppress(OSError):
            return self.call("GET", "/readyz").status
        return 0

    def end(self) -> int:
        """Ctrl-C; the exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE)


@contextmanager
def served(sheet: Path, *options: str) -> Iterator[Served]:
    """A server, once it is ready."""
    out, err = sheet.with_suffix(".out"), sheet.with_suffix(".err")
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(
            [*SERVE, "--model", "lab:gpt", "--sheet", str(sheet), *options],
            stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, env={**os.environ, "ERRATA_API_KEY": "sesame"},
        )  # fmt: skip
    try:
        until(lambda: b"\n" in out.read_bytes() or process.poll() is not None)
        found = re.search(r"http://\S+", out.read_text())
        assert found, err.read_text()[-2000:]
        started = Served(process, found[0], sheet)
        until(lambda: started.ready() == 200 or process.poll() is not None)
        assert process.poll() is None, err.read_text()[-2000:]
        yield started
    finally:
        process.kill()
        process.wait()
