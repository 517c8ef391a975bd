"""The worker process: one Editor on the sheet, one command at a time, JSON lines in and out.

What it answers is on the disk already; before that it may report progress, any number of times. It ends when its line
does, that is, when its server ends, however that ends.
Knows the line; what commands do is in `commands`.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn, TextIO

import torch
import transformers

from errata.editor import Editor
from errata.errors import ErrataError
from errata.plain import plain
from errata.progress import Event
from errata.serve.desk.commands import COMMANDS, Bench
from errata.serve.desk.probes import Probes
from errata.serve.full import disk_full

log = logging.getLogger(__name__)

EVERY = 0.2  # seconds between two reports of progress
NICE = 5  # answers come first: an edit may take longer, a request may not


def work(line: socket.socket) -> NoReturn:
    """Say who works here, then serve the line until it ends, and end the process without taking the libraries down."""
    status = 1
    try:
        with line.makefile("r") as commands, line.makefile("w") as replies:
            _reply(replies, {"ok": {"pid": os.getpid()}})
            _serve(commands, replies)
        status = 0
    except OSError:  # the server is gone
        status = 0
    except BaseException:
        log.exception("the worker failed")
    finally:
        os._exit(status)


def _serve(commands: TextIO, replies: TextIO) -> None:
    """The first line says what to open, as JSON: sheet, model, journal."""
    if not (first := commands.readline()):
        return
    try:
        bench = _open(**json.loads(first), progress=_reporter(replies))
    except ErrataError as error:
        _reply(replies, _failure(error))
        return
    _reply(replies, {"ok": {"head": bench.editor.state.head}})
    for told in commands:
        request = json.loads(told)
        try:
            answer = {"ok": COMMANDS[request["command"]](bench, **request["arguments"])}
        except ErrataError as error:
            answer = _failure(error)
        except Exception as error:
            log.exception("%s failed", request["command"])
            answer = _failure(error)
        _reply(replies, answer)
    bench.editor.close()


def _reporter(replies: TextIO) -> Callable[[Event], None]:
    """Return what writes progress to the line: that work begins, and then a report every `EVERY` seconds at most."""
    last = -EVERY

    def report(event: Event) -> None:
        nonlocal last
        if (now := time.monotonic()) - last >= EVERY or not event.done:
            last = now
            _reply(replies, {"progress": dataclasses.asdict(event)})

    return report


def _open(sheet: str, model: str | None, journal: str | None, progress: Callable[[Event], None]) -> Bench:
    os.nice(NICE)
    torch.set_num_threads(max(1, torch.get_num_threads() // 2))
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return Bench(Editor.open(sheet, model=model, journal=journal), Probes(Path(sheet)), progress)


def _failure(error: Exception) -> dict[str, Any]:
    return {
        "error": {
            "kind": type(error).__name__,
            "message": " ".join(str(error).split()),
            "detail": getattr(error, "detail", {}),
            "full": disk_full(error),
        }
    }


def _reply(stream: TextIO, value: Mapping[str, Any]) -> None:
    stream.write(json.dumps(plain(value)) + "\n")
    stream.flush()
