"""What the engine gains by decoding together, and what the edits of a sheet cost it: ratios of paired times.

    python benchmarks/serving.py --only together     32 requests at once against one at a time
    python benchmarks/serving.py --only edits        1,000 GRACE keys against none, at 32 requests at once
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

import torch
import transformers

from costs import MODEL, cases, side_by_side
from errata import EditableModel
from errata.models.encoding import prompt_ids
from errata.patches.codebook import CodebookPatch, Entry
from errata.serve.engine.engine import Engine
from errata.serve.engine.request import Sampling

REQUESTS, TOKENS = 32, 64


def filled(model: EditableModel, keys: int) -> CodebookPatch:
    """A codebook of random far-away keys at the middle block, where GRACE's are."""
    generator, layer = torch.Generator().manual_seed(0), model.layer_of(0.5)
    scale = float(model.prefix(model.encode(["The capital of France is"]), layer).hidden.norm(dim=-1).mean())
    states = torch.randn(keys, model.width, generator=generator) * scale / model.width**0.5
    entries = [Entry(f"k{i}", state, state, (i % 97, 0), 1.0, "") for i, state in enumerate(states)]
    return CodebookPatch(layer, entries, method="grace", config={}, edits=[entry.edit for entry in entries])


class Asker:
    """The same requests, with the same seeds and so the same tokens, as often as asked."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
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
        sampling = Sampling(max_tokens=TOKENS, temperature=2.0, seed=place)
        return self.engine.submit(self.ids[place], sampling, parent=parent)


def together(repeats: int) -> dict[str, Any]:
    """Seconds for the same requests one at a time (first) and all at once (second)."""
    engine = Engine(EditableModel.load(MODEL))
    engine.start()
    asker = Asker(engine)
    found = side_by_side(asker.in_turn, asker.at_once, repeats)
    engine.stop()
    return {"requests": REQUESTS, "tokens": asker.tokens, "repeats": repeats, **found}


def edits(repeats: int, keys: int = 1000) -> dict[str, Any]:
    """Seconds for requests at once with a codebook of so many keys (first) and from the parent (second)."""
    engine = Engine(EditableModel.load(MODEL))
    engine.start()
    engine.swap(1, [filled(engine.base, keys)]).result()
    asker = Asker(engine)
    found = side_by_side(asker.at_once, lambda: asker.at_once(parent=True), repeats)
    engine.stop()
    return {"keys": keys, "requests": REQUESTS, "tokens": asker.tokens, "repeats": repeats, **found}


PARTS: dict[str, Callable[[int], dict[str, Any]]] = {"together": together, "edits": edits}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas between")
    parser.add_argument("--repeats", type=int, default=9, help="pairs of runs")
    arguments = parser.parse_args()
    versions = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "threads": torch.get_num_threads(),
    }
    for name in arguments.only.split(","):
        print(name, json.dumps({**PARTS[name](arguments.repeats), "versions": versions}))


if __name__ == "__main__":
    main()
