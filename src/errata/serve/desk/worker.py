"""The worker process: one Editor on the sheet, one command at a time, JSON lines in and out.

What it answers is on the disk already. It ends when its input does, that is, when its server ends, however that ends.
Knows the pipe; what commands do is in `commands`.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from errata.plain import plain

log = logging.getLogger(__name__)

NICE = 5  # answers come first: an edit may take longer, a request may not


def main() -> None:
    """Serve commands until the input ends. The first line says what to open, as JSON: sheet, model, journal."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which lets a command finish
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print must not get among the replies
    # Seconds of imports, before anything is read: the server loads its own model meanwhile.
    from errata.errors import ErrataError
    from errata.serve.desk.commands import COMMANDS

    if not (first := sys.stdin.readline()):
        return
    try:
        bench = _open(**json.loads(first))
    except ErrataError as error:
        _reply(replies, _failure(error))
        return
    _reply(replies, {"ok": {"head": bench.editor.state.head}})
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"ok": COMMANDS[request["command"]](bench, **request["arguments"])}
        except ErrataError as error:
            answer = _failure(error)
        except Exception as error:
            log.exception("%s failed", request["command"])
            answer = _failure(error)
        _reply(replies, answer)
    bench.editor.close()
    replies.close()  # the server waits for this, and not for the seconds that taking the libraries down lasts


def _open(sheet: str, model: str | None, journal: str | None) -> Any:
    import torch
    import transformers

    from errata.editor import Editor
    from errata.serve.desk.commands import Bench
    from errata.serve.desk.probes import Probes

    os.nice(NICE)
    torch.set_num_threads(max(1, torch.get_num_threads() // 2))
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return Bench(Editor.open(sheet, model=model, journal=journal), Probes(Path(sheet)))


def _failure(error: Exception) -> dict[str, Any]:
    return {
        "error": {
            "kind": type(error).__name__,
            "message": " ".join(str(error).split()),
            "detail": getattr(error, "detail", {}),
        }
    }


def _reply(stream: TextIO, value: Mapping[str, Any]) -> None:
    stream.write(json.dumps(plain(value)) + "\n")


if __name__ == "__main__":
    main()
