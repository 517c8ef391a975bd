"""The nursery: a process that has loaded every library and runs no thread, off which workers are forked.

Loading the libraries takes seconds of a processor, which a worker that replaces a dead one would spend anew; a fork
takes milliseconds, and shares their memory. A fork copies the thread that makes it and no other, so that a lock which
another one holds stays locked for ever: nothing is computed in the nursery. Knows processes and sockets; what a worker
does is in `worker`.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

log = logging.getLogger(__name__)

TASKS = Path("/proc/self/task")
# Without these the libraries start threads, or look for GPUs in a way that a fork does not survive, as they are loaded.
UNTHREADED = {"OPENBLAS_NUM_THREADS": "1", "PYTORCH_NVML_BASED_CUDA_CHECK": "1"}


def unthreaded() -> None:
    """Let the libraries that are loaded from now on start no thread of their own."""
    for name, value in UNTHREADED.items():
        os.environ.setdefault(name, value)


def alone() -> bool:
    """Whether this process is one thread, so that it can be forked; False where that cannot be told."""
    return TASKS.is_dir() and len(list(TASKS.iterdir())) == 1


class Nursery:
    """The line to one nursery."""

    def __init__(self, line: socket.socket, pid: int) -> None:
        self._line, self._pid = line, pid

    @classmethod
    def spawned(cls) -> Nursery:
        """A process of its own, which loads the libraries; workers that are asked for meanwhile wait for that."""
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", __name__]
            line = [(os.POSIX_SPAWN_DUP2, theirs.fileno(), 0)]
            return cls(ours, os.posix_spawn(command[0], command, os.environ, file_actions=line))

    @classmethod
    def forked(cls) -> Nursery:
        """Off this process, which has loaded the libraries and must be `alone`."""
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if not pid:
            ours.close()
            tend(theirs)
        theirs.close()
        return cls(ours, pid)

    def worker(self) -> socket.socket:
        """The line to a new worker. Raises OSError when the nursery is gone."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(self._line, [b"w"], [theirs.fileno()])
            except OSError:
                ours.close()
                raise
        return ours

    def close(self) -> None:
        """End it; workers live on."""
        self._line.close()
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(self._pid, 0)


def tend(line: socket.socket) -> NoReturn:
    """Fork a worker whenever the line brings an end of a new one, until the server is gone."""
    try:
        _tend(line)
    except BaseException:
        log.exception("the nursery failed")
    finally:
        os._exit(1)  # what called this goes on in the server alone


def _tend(line: socket.socket) -> NoReturn:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which lets a command finish
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for a worker: its line says when it ends
    os.dup2(2, 1)  # what libraries print must not get into what the server says
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    from errata.serve.desk import worker

    gc.freeze()  # what is never looked through stays in memory that all of them share
    while True:
        _, ends, _, _ = socket.recv_fds(line, 1, 1)
        if not ends:
            os._exit(0)
        if not os.fork():
            line.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            worker.work(socket.socket(fileno=ends[0]))
        os.close(ends[0])


if __name__ == "__main__":
    unthreaded()
    tend(socket.socket(fileno=os.dup(0)))
