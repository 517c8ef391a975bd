"""What the README's figures come from: a stream of CounterFact edits on lab:gpt, one at a time, and what edits cost.

    make bench                                     everything; finished parts are kept in benchmarks/results.json
    python benchmarks/spine.py --only streams --n 100 --methods grace     a part of it

Answers are generated freely and must equal the target, end included. Every share has its n and a 95 % Wilson interval.
Speeds are ratios of medians measured side by side in one process.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from tqdm import tqdm

from errata import Edit, EditableModel, Editor
from errata.datasets import get
from errata.lab.recipes.corpus import prose
from errata.methods._base import create
from errata.models.losses import target_loss
from errata.patches.codebook import CodebookPatch, Entry

HERE = Path(__file__).parent
MODEL = "lab:gpt"
RADII = (1.0, 4.0, 8.0)


def share(right: Sequence[bool]) -> dict[str, Any]:
    """A proportion with its n and 95 % Wilson score interval."""
    n, z = len(right), 1.96
    p = sum(right) / n
    centre, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return {
        "value": p,
        "n": n,
        "low": (centre - half) / (1 + z * z / n),
        "high": (centre + half) / (1 + z * z / n),
    }


def perplexity(model: EditableModel, rows: int = 40) -> float:
    """exp(mean loss a token) on prose held out of the model's training, in rows of the whole context."""
    ids = model.tokenizer(prose("held_out"), add_special_tokens=False, verbose=False)["input_ids"]
    width = (model.context or 512) - 1
    texts = [ids[start : start + width] for start in range(0, len(ids) - width, width)][:rows]  # type: ignore[index]
    losses = []
    with torch.no_grad(), model.evaluating():
        for text in texts:
            whole = torch.tensor([[model.tokenizer.bos_token_id, *text]])
            gold = torch.cat([whole[:, 1:], torch.full((1, 1), -100)], dim=1)
            losses.append(float(target_loss(model.model(whole).logits, gold)))
    return math.exp(statistics.fmean(losses))


def answers(editor: Editor, pairs: Sequence[tuple[str, str]]) -> list[bool]:
    """For each (prompt, target), whether free generation writes exactly the target."""
    replies = editor.generate([prompt for prompt, _ in pairs])
    return [reply == target.strip() for reply, (_, target) in zip(replies, pairs, strict=True)]


def cases(n: int) -> list[Edit]:
    edits = get("counterfact-lab").edits()
    random.Random(0).shuffle(edits)
    return edits[:n]


def stream(method: str, options: dict[str, Any], n: int, unrelated: int = 1000) -> dict[str, Any]:
    """n edits one at a time; everything is measured on the state after the last."""
    edits = cases(n)
    rows = [row for row in get("lab-facts").rows() if row["split"] == "locality" and row["known"]]
    prompts = [row["prompt"] for row in random.Random(1).sample(rows, min(unrelated, len(rows)))]
    with Editor(MODEL) as editor:
        before, text_before = editor.generate(prompts), perplexity(editor.editable)
        times, done = [], 0
        for edit in tqdm(edits, desc=f"{method} {options or ''}", unit="edit"):
            started = time.perf_counter()
            done += len(editor.edit(edit, method=method, **options).done)
            times.append(time.perf_counter() - started)
        after, text_after = editor.generate(prompts), perplexity(editor.editable)
        held_out = [(edit.rephrases[0], edit.target) for edit in edits if edit.rephrases]
        edited = {edit.prompt for edit in edits}
        near = [p for edit in edits for p in edit.locality if p.prompt not in edited][:unrelated]
        return {
            "method": method, "options": options, "n": n, "reported done": done,
            "reliability": share(answers(editor, [(edit.prompt, edit.target) for edit in edits])),
            "generalization": share(answers(editor, held_out)),
            "unrelated unchanged": share([a == b for a, b in zip(before, after, strict=True)]),
            "neighbours right": share(answers(editor, [(p.prompt, str(p.answer)) for p in near])),
            "perplexity before": text_before, "perplexity after": text_after,
            "seconds an edit": statistics.median(times),
            "late over early": statistics.median(times[-50:]) / statistics.median(times[5:55]),
            "minutes": sum(times) / 60,
        }  # fmt: skip


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
    patch = filled(model, keys)
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

    return {"keys": keys, **side_by_side(patched, plain, repeats)}


def filled(model: EditableModel, keys: int) -> CodebookPatch:
    """A codebook of `keys` random far-away keys at GRACE's block."""
    generator = torch.Generator().manual_seed(0)
    method = create("grace")
    layer = method._layer(model)  # type: ignore[attr-defined]
    scale = float(model.prefix(model.encode(["The capital of France is"]), layer).hidden.norm(dim=-1).mean())
    states = torch.randn(keys, model.width, generator=generator) * scale / model.width**0.5
    entries = [Entry(f"k{i}", state, state, (i % 97, 0), 1.0, "") for i, state in enumerate(states)]
    return CodebookPatch(
        layer, entries, method="grace", config=method.config.to_json(), edits=[e.edit for e in entries],
        rules=method._rules(model),  # type: ignore[attr-defined]
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


STREAMS: list[tuple[str, dict[str, Any]]] = [
    *(("grace", {"radius": radius}) for radius in RADII), ("ft", {}), ("lora", {}), ("ft-l", {}),
]  # fmt: skip


def percent(found: dict[str, Any]) -> str:
    return f"{found['value']:.1%} ({found['low']:.1%} to {found['high']:.1%}, n = {found['n']})"


def markdown(results: dict[str, Any]) -> str:
    """The results as docs/benchmarks.md quotes them."""
    columns = ("reliability", "generalization", "unrelated unchanged", "neighbours right")
    lines = [
        "| method | edits | reported done | reliability | generalization | unrelated unchanged | neighbours right "
        "| perplexity | s/edit | late/early |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for found in results.values():
        if "method" in found:
            options = ", ".join(f"{key}={value:g}" for key, value in found["options"].items())
            shares = " | ".join(percent(found[column]) for column in columns)
            change = found["perplexity after"] / found["perplexity before"] - 1
            lines.append(
                f"| `{found['method']}` {options} | {found['n']} | {found['reported done']} | {shares} "
                f"| {change:+.3%} | {found['seconds an edit']:.3f} | {found['late over early']:.2f} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=1000, help="edits in a stream")
    parser.add_argument("--methods", default="grace,ft,ft-l,lora")
    parser.add_argument("--only", default="costs,streams", help="costs, streams or both")
    parser.add_argument(
        "--out", type=Path, default=HERE / "results.json", help="results; finished parts are kept"
    )
    arguments = parser.parse_args()
    results = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    parts: dict[str, Callable[[], Any]] = {}
    if "costs" in arguments.only:
        parts |= {"batch": batch_or_one_by_one, "lookup": lookup, "beside": beside}
    if "streams" in arguments.only:
        for method, options in STREAMS:
            if method in arguments.methods.split(","):
                name = f"stream {method} {json.dumps(options)} {arguments.n}"
                parts[name] = lambda method=method, options=options: stream(method, options, arguments.n)
    versions = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "threads": torch.get_num_threads(),
    }
    for name, part in parts.items():
        if name not in results:
            results[name] = {**part(), "versions": versions}
            arguments.out.write_text(json.dumps(results, indent=1) + "\n")
            print(name, json.dumps(results[name]))
    print(markdown(results))


if __name__ == "__main__":
    main()
