"""`errata serve` in a process of its own, its words in files beside the sheet."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from errata.cli import main
from forks import forks
from serving import PATIENCE, Reply, call, until

KEY = {"Authorization": "Bearer sesame"}
SERVE = (sys.executable, "-m", "errata.cli", "serve", "--port", "0", "--rate", "0")


@dataclass(frozen=True)
class Served:
    """A server process that was started."""

    process: BaseProcess
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

    def end(self) -> int | None:
        """Ctrl-C; the exit status."""
        os.kill(self.process.pid or 0, signal.SIGINT)
        self.process.join(PATIENCE)
        return self.process.exitcode


@contextmanager
def served(sheet: Path, *options: str, cold: bool = False) -> Iterator[Served]:
    """A server, once it is ready. `cold`: it loads the libraries itself, as its users' does."""
    out, err = sheet.with_suffix(".out"), sheet.with_suffix(".err")
    for path in (out, err):
        path.write_bytes(b"")
    words = ("--model", "lab:gpt", "--sheet", str(sheet), *options)
    process = forks().Process(target=_serve, args=(words, out, err, cold), daemon=True)
    process.start()
    try:
        until(lambda: b"\n" in out.read_bytes() or not process.is_alive())
        found = re.search(r"http://\S+", out.read_text())
        assert found, err.read_text()[-2000:]
        started = Served(process, found[0], sheet)
        until(lambda: started.ready() == 200 or not process.is_alive())
        assert process.is_alive(), err.read_text()[-2000:]
        yield started
    finally:
        process.kill()
        process.join()


def _serve(words: tuple[str, ...], out: Path, err: Path, cold: bool) -> None:
    """What the process does."""
    for stream, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY), stream)
    os.environ["ERRATA_API_KEY"] = "sesame"
    if cold:
        os.execv(SERVE[0], [*SERVE, *words])
    sys.exit(main([*SERVE[SERVE.index("serve") :], *words]))
