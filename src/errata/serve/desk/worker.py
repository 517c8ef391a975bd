"""The worker process: one Editor on the sheet, one command at a time, JSON lines in and out.

What it answers is on the disk already. It ends when its input does, that is, when its server ends, however that ends.
Knows the pipe; what commands do is in `commands`.
"""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

log = logging.getLogger(__name__)


def main(arguments: str) -> None:
    """Serve commands until the input ends. `arguments` is JSON: sheet, model, journal."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which lets a command finish
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print must not get among the replies
    from errata.errors import ErrataError

    try:
        bench = _open(**json.loads(arguments))
    except ErrataError as error:
        _reply(replies, _failure(error))
        return
    from errata.serve.desk.commands import COMMANDS

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


def _open(sheet: str, model: str | None, journal: str | None) -> Any:
    import transformers

    from errata.editor import Editor
    from errata.serve.desk.commands import Bench
    from errata.serve.desk.probes import Probes

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
    stream.write(json.dumps(_plain(value)) + "\n")


def _plain(value: Any) -> Any:
    """Without NaN and infinities, which JSON lacks."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
    return value


if __name__ == "__main__":
    main(sys.argv[1])
