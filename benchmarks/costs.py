"""What editing costs, as ratios of medians measured side by side in one process. What it is worth: `errata bench`.

    make bench                                     everything; finished parts are kept in benchmarks/results.json
    python benchmarks/costs.py --only generation   one part
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
import transformers
from tqdm import tqdm
from transformers import GPT2Config, GPT2LMHeadModel

from errata import Edit, EditableModel, Editor
from errata.datasets import get
from errata.methods._base import create
from errata.methods._sites import site
from errata.patches.codebook import CodebookPatch, Entry, Metric, Rules

HERE = Path(__file__).parent
MODEL = "lab:gpt"


def cases(n: int) -> list[Edit]:
    edits = get("counterfact-lab").edits()
    random.Random(0).shuffle(edits)
    return edits[:n]


def seconds(job: Callable[[], Any]) -> float:
    started = time.perf_counter()
    job()
    return time.perf_counter() - started


def side_by_side(one: Callable[[], Any], other: Callable[[], Any], repeats: int) -> dict[str, float]:
    """Two jobs run in turns, after one run of each that does not count (see `compared`)."""
    pairs = [(seconds(one), seconds(other)) for _ in tqdm(range(repeats + 1), desc="side by side", leave=False)]
    return compared(pairs[1:])


def compared(pairs: Sequence[tuple[float, float]]) -> dict[str, float]:
    """Medians of paired seconds and of their ratios, with the ratios' quartiles."""
    ratios = [first / second for first, second in pairs]
    low, high = statistics.quantiles(ratios, n=4)[0], statistics.quantiles(ratios, n=4)[2]
    first, second = (statistics.median(column) for column in zip(*pairs, strict=True))
    return {"first": first, "second": second, "ratio": statistics.median(ratios), "low": low, "high": high}


def batch_or_one_by_one(n: int = 100, repeats: int = 3) -> dict[str, Any]:
    """n independent GRACE edits in one call, and one call each, in turns; and whether the answers are the same."""
    edits = cases(n)

    def run(size: int) -> tuple[float, list[str]]:
        with Editor(MODEL) as editor:
            started = time.perf_counter()
            editor.edit(edits, batch_size=size)
            return time.perf_counter() - started, editor.generate([edit.prompt for edit in edits])

    runs = [(run(1), run(n)) for _ in tqdm(range(repeats), desc="batch or one by one")]
    slow, fast = (statistics.median(taken for taken, _ in column) for column in zip(*runs, strict=True))
    same = all(single[1] == whole[1] for single, whole in runs)
    return {"n": n, "one by one": slow, "one batch": fast, "times faster": slow / fast, "same answers": same}


def lookup(keys: int = 1000, repeats: int = 30) -> dict[str, Any]:
    """Generation of the same text with and without a codebook of `keys` keys, in turns."""
    model = EditableModel.load(MODEL)
    return {"keys": keys, **written(model, filled(model, keys), repeats)}


def large(keys: int = 11_474, directions: int = 384, repeats: int = 15) -> dict[str, Any]:
    """The same on a GPT-2 of 124 M with random weights, beside as many keys as `chain` has for 1,000 edits of lab:gpt,
    compared along half of the width. On a small model the ratio measures Python."""
    torch.manual_seed(0)
    model = EditableModel(GPT2LMHeadModel(GPT2Config()).eval(), EditableModel.load(MODEL).tokenizer)
    found = written(model, filled(model, keys, directions), repeats)
    return {"keys": keys, "microseconds a token": 1e4 * (found["first"] - found["second"]), **found}


def written(model: EditableModel, patch: CodebookPatch, repeats: int) -> dict[str, float]:
    """100 tokens, with the patch and without."""
    inputs = model.tokenizer("Once upon a time there was a", return_tensors="pt")
    options = {"max_new_tokens": 100, "min_new_tokens": 100, "do_sample": False}

    def plain() -> None:
        model.model.generate(**inputs, **options)  # type: ignore[operator]

    def patched() -> None:
        patch.attach(model)
        try:
            plain()
        finally:
            patch.detach(model)

    return side_by_side(patched, plain, repeats)


def filled(model: EditableModel, keys: int, directions: int | None = None) -> CodebookPatch:
    """A codebook of `keys` random far-away keys at GRACE's block, perhaps under a metric of so many directions."""
    generator = torch.Generator().manual_seed(0)
    method = create("grace")
    layer = site(model, method.config.layer)
    scale = float(model.prefix(model.encode(["The capital of France is"]), layer).hidden.norm(dim=-1).mean())
    states = torch.randn(keys, model.width, generator=generator) * scale / model.width**0.5
    metric = Metric(torch.eye(model.width)[:directions]) if directions else None
    entries = [
        Entry(f"k{i}", state if metric is None else metric.of(state[None])[0], state, (i % 97, 0), 1.0, "")
        for i, state in enumerate(states)
    ]
    return CodebookPatch(
        layer, entries, method="grace", config=method.config.to_json(), edits=[e.edit for e in entries], metric=metric,
        rules=Rules.at(model.dtype, "separate") if metric else method._rules(model),  # type: ignore[attr-defined]
    )  # fmt: skip


def beside(keys: int = 50_000, repeats: int = 15) -> dict[str, Any]:
    """Learning an edit beside `keys` stored keys, and beside none, in turns; the codebook keeps what it learns."""
    model, bare = EditableModel.load(MODEL), EditableModel.load(MODEL)
    method, book = create("grace"), filled(model, keys)
    book.attach(model)
    edits = [Edit(e.prompt, e.target, id=f"x{i}") for i, e in enumerate(cases(repeats + 1))]
    with_keys, without = iter(edits), iter(edits)

    def full() -> None:
        nonlocal book
        patch = method.fit(model, [next(with_keys)], book).patch
        assert isinstance(patch, CodebookPatch)
        book.detach(model)
        book = patch
        book.attach(model)

    def empty() -> None:
        method.fit(bare, [next(without)])

    return {"keys": keys, **side_by_side(full, empty, repeats)}


def learning(size: int = 1, calls: int = 20) -> dict[str, Any]:
    """CPU seconds an edit, `size` in a call: chain, GRACE as it is here, and GRACE with its published schedule, which
    takes 100 steps whether the answer leads or not; in turns, and the ratios of each call."""
    rivals = {"chain": ("chain", {}), "grace": ("grace", {}), "grace, 100 steps": ("grace", {"lead": 1e9})}
    edits = cases(size * (calls + 1))
    taken: dict[str, list[float]] = {name: [] for name in rivals}
    with ExitStack() as stack:
        editors = {name: stack.enter_context(Editor(EditableModel.load(MODEL))) for name in rivals}
        for start in tqdm(range(0, len(edits), size), desc="learning", leave=False):
            for name, (method, options) in rivals.items():
                started = time.process_time()
                editors[name].edit(edits[start : start + size], method, **options)
                taken[name].append((time.process_time() - started) / size)
    found: dict[str, Any] = {"size": size, "calls": calls}
    for name, seconds in taken.items():
        ratios = [other / own for other, own in zip(seconds[1:], taken["chain"][1:], strict=True)]
        low, median, high = statistics.quantiles(ratios, n=4)
        found[name] = {"seconds": statistics.median(seconds[1:]), "by chain": median, "low": low, "high": high}
    return found


def rounds() -> dict[str, Any]:
    """`learning` with 50 edits in a call."""
    return learning(size=50, calls=8)


def generation(prompts: int = 256, repeats: int = 3) -> dict[str, Any]:
    """Free answers to the same prompts one at a time and in batches of 64, in turns, and whether they are the same."""
    model = EditableModel.load(MODEL)
    asked = [edit.prompt for edit in cases(prompts)]
    said: dict[int, list[str]] = {}

    def ask(rows: int) -> None:
        said[rows] = model.generate(asked, batch_size=rows)

    found = side_by_side(lambda: ask(1), lambda: ask(64), repeats)
    return {"prompts": prompts, "same answers": said[1] == said[64], **found}


PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "batch": batch_or_one_by_one, "lookup": lookup, "large": large, "beside": beside, "learning": learning,
    "rounds": rounds, "generation": generation,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas between")
    parser.add_argument(
        "--out", type=Path, default=HERE / "results.json", help="results; finished parts are kept"
    )
    arguments = parser.parse_args()
    results = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    versions = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "threads": torch.get_num_threads(),
    }
    for name in arguments.only.split(","):
        if name not in results:
            results[name] = {**PARTS[name](), "versions": versions}
            arguments.out.write_text(json.dumps(results, indent=1) + "\n")
            print(name, json.dumps(results[name]))


if __name__ == "__main__":
    main()
