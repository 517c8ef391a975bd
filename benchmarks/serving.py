"""What the engine gains by decoding together, what the edits of a sheet cost it, and how long answers take under edits.

    python benchmarks/serving.py --only together     32 requests at once against one at a time
    python benchmarks/serving.py --only edits        1,000 GRACE keys against none, at 32 requests at once
    python benchmarks/serving.py --only latency      a whole server: answers at several rates of edits, in turns
    python benchmarks/serving.py --only restart      a whole server: until it is ready, and an edit by a new worker

Ratios of paired times, in seconds of the clock and of the processor.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers

from costs import MODEL, cases, compared, filled
from errata import EditableModel
from errata.models.encoding import prompt_ids
from errata.serve.engine.engine import Engine
from errata.serve.engine.request import Sampling
from served import Client, Served

REQUESTS = 32
RATES = (0.0, 0.25, 1.0)  # edits a second
CLIENTS, PAUSE = 4, 0.1  # askers, and seconds that each waits after an answer
WINDOW = 15.0  # seconds at one rate


class Asker:
    """The same requests, with the same seeds and so the same tokens, as often as asked."""

    def __init__(self, engine: Engine, longest: int) -> None:
        self.engine, self.longest = engine, longest
        self.ids = prompt_ids(engine.base, [edit.prompt for edit in cases(REQUESTS)])
        self.tokens = 0

    def at_once(self, *, parent: bool = False) -> None:
        pending = [self._submit(place, parent) for place in range(REQUESTS)]
        self.tokens = sum(generation.finished.result().completion_tokens for generation in pending)

    def in_turn(self) -> None:
        for place in range(REQUESTS):
            self._submit(place, False).finished.result()

    def _submit(self, place: int, parent: bool):
        # Hot, so that answers go on: the model's own are a few tokens long.
        sampling = Sampling(max_tokens=self.longest, temperature=2.0, seed=place)
        return self.engine.submit(self.ids[place], sampling, parent=parent)


def side_by_side(one: Callable[[], None], other: Callable[[], None], repeats: int) -> dict[str, Any]:
    """Two jobs run in turns, after one run of each that does not count: by the clock, and by the processor."""
    pairs = [(_timed(one), _timed(other)) for _ in range(repeats + 1)][1:]
    kinds = ("clock", "processor")
    return {kind: compared([(a[n], b[n]) for a, b in pairs]) for n, kind in enumerate(kinds)}


def _timed(job: Callable[[], None]) -> tuple[float, float]:
    clock, processor = time.perf_counter(), time.process_time()
    job()
    return time.perf_counter() - clock, time.process_time() - processor


def together(repeats: int, longest: int) -> dict[str, Any]:
    """Seconds for the same requests one at a time (first) and all at once (second)."""
    engine = Engine(EditableModel.load(MODEL))
    engine.start()
    asker = Asker(engine, longest)
    found = side_by_side(asker.in_turn, asker.at_once, repeats)
    engine.stop()
    return {"requests": REQUESTS, "tokens": asker.tokens, "repeats": repeats, **found}


def edits(repeats: int, longest: int, keys: int = 1000) -> dict[str, Any]:
    """Seconds for requests at once with a codebook of so many keys (first) and from the parent (second)."""
    engine = Engine(EditableModel.load(MODEL))
    engine.start()
    engine.swap(1, [filled(engine.base, keys)]).result()
    asker = Asker(engine, longest)
    found = side_by_side(asker.at_once, lambda: asker.at_once(parent=True), repeats)
    engine.stop()
    return {"keys": keys, "requests": REQUESTS, "tokens": asker.tokens, "repeats": repeats, **found}


def latency(repeats: int, _: int) -> dict[str, Any]:
    """Seconds of answers over HTTP while edits are made at each rate, one rate after another, `repeats` times."""
    seen: dict[float, list[float]] = {rate: [] for rate in RATES}
    made: dict[float, int] = dict.fromkeys(RATES, 0)
    with tempfile.TemporaryDirectory() as directory:
        server = Served(Path(directory) / "sheet")
        try:
            _window(server, 1.0, 5.0, [])
            for _ in range(repeats):
                for rate in RATES:
                    made[rate] += _window(server, rate, WINDOW, seen[rate])
        finally:
            server.kill()
    told = {f"{rate:g} a second": _told(seen[rate], made[rate] / (repeats * WINDOW)) for rate in RATES}
    quiet, busy = (_share(seen[rate], 0.99) for rate in (RATES[0], RATES[-1]))
    return {"clients": CLIENTS, "windows": repeats, "seconds": WINDOW, **told, "p99 ratio": busy / quiet}


def restart(repeats: int, _: int) -> dict[str, Any]:
    """Seconds until a server is ready, of an edit, and of an edit whose worker was killed before it."""
    return {"ready, an edit, an edit after a kill": [_restart() for _ in range(repeats)]}


def _restart() -> tuple[float, ...]:
    started, prompts = time.perf_counter(), [edit.prompt for edit in cases(3)]
    with tempfile.TemporaryDirectory() as directory:
        server = Served(Path(directory) / "sheet")
        ready = time.perf_counter() - started
        try:
            client = server.client()
            _edit(client, prompts[0])
            usual = _timed(lambda: _edit(client, prompts[1]))[0]
            server.kill_worker()
            return ready, usual, _timed(lambda: _edit(client, prompts[2]))[0]
        finally:
            server.kill()


def _window(server: Served, rate: float, seconds: float, seen: list[float]) -> int:
    """Ask all the time, and edit at a rate; how many edits were made."""
    over, prompts = threading.Event(), [edit.prompt for edit in cases(REQUESTS)]
    asking = [threading.Thread(target=_ask, args=(server.client(), prompts, over, seen)) for _ in range(CLIENTS)]
    for thread in asking:
        thread.start()
    client, until, made = server.client(), time.monotonic() + seconds, 0
    while (now := time.monotonic()) < until:
        if rate:
            _edit(client, prompts[made % len(prompts)])
            made += 1
            over.wait(max(0.0, now + 1 / rate - time.monotonic()))
        else:
            over.wait(until - now)
    over.set()
    for thread in asking:
        thread.join()
    return made


def _ask(client: Client, prompts: list[str], over: threading.Event, seen: list[float]) -> None:
    place = 0
    while not over.wait(PAUSE):
        started = time.perf_counter()
        client.ask([prompts[place % len(prompts)]])
        seen.append(time.perf_counter() - started)
        place += 1


def _edit(client: Client, prompt: str) -> None:
    status, body = client.call("POST", "/v1/edits", {"edits": [{"prompt": prompt, "target": "Paris"}]})
    if status != 200:
        raise SystemExit(f"editing was answered {status}: {body}")


def _told(seen: list[float], rate: float) -> dict[str, float]:
    return {
        "answers": len(seen), "edits a second": rate, "median": statistics.median(seen), "p99": _share(seen, 0.99)
    }  # fmt: skip


def _share(seen: list[float], share: float) -> float:
    return sorted(seen)[min(len(seen) - 1, int(share * len(seen)))]


PARTS: dict[str, Callable[[int, int], dict[str, Any]]] = {
    "together": together, "edits": edits, "latency": latency, "restart": restart,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas between")
    parser.add_argument("--repeats", type=int, default=9, help="pairs of runs")
    parser.add_argument("--tokens", type=int, default=32, help="longest answer of a part without HTTP")
    arguments = parser.parse_args()
    versions = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "threads": torch.get_num_threads(),
    }
    for name in arguments.only.split(","):
        print(name, json.dumps({**PARTS[name](arguments.repeats, arguments.tokens), "versions": versions}))


if __name__ == "__main__":
    main()
