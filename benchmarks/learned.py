"""Trained editors on the lab's models: batches of unseen edits, and what they cost the answers that should stay.

    python benchmarks/learned.py --model lab:t5 --method salem --out editors/ >> learned.jsonl

Trains an editor on the data set's training edits (an editor that lies in OUT already is used), then makes batches of
unseen edits, each batch alone on the unedited model. One JSON line with, over batches, mean, standard deviation and
number of: accuracy (every token of the target and the end after it is the first choice), generated (free generation
writes the target), generalization (accuracy on held-out wordings) and drawdown (share of upstream questions that the
unedited model answers rightly and the edited one does not). Further arguments are options of the method: --steps 500.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from errata import datasets
from errata.cli.edit import split
from errata.edits import Edit
from errata.methods._base import create
from errata.methods._learned import LearnedMethod
from errata.models import EditableModel
from errata.patches.base import Patch

DATA = {"lab:t5": "lab-questions", "lab:bert": "lab-claims", "lab:gpt": "lab-counterfacts"}
WORDINGS = 5  # held-out wordings of an edit that are asked; a data set lists them last
ROWS = 250  # of one forward


def main() -> None:
    given, rest = _arguments(__doc__).parse_known_args()
    _, options = split(rest)
    model = EditableModel.load(given.model)
    place = given.out / f"{given.model.replace(':', '-')}-{given.method}"
    print(json.dumps({"model": given.model, **tried(model, given.method, options, place, given)}))


def tried(
    model: EditableModel, method: str, options: dict[str, str], place: Path, given: argparse.Namespace
) -> dict[str, Any]:
    """An editor in `place`, and what it does to batches of unseen edits."""
    data = datasets.get(given.data or DATA[given.model])
    trained = _train(method, options, model, _lessons(data, given.plain), place)
    maker = create(method, {**options, "editor": str(place)})
    edits = [dataclasses.replace(edit, id=f"e{number}") for number, edit in enumerate(data.edits())]
    edits = edits[given.first :][: given.rounds * given.batch]
    if len(edits) < given.batch:
        sys.exit(f"{data.name} has {len(edits)} edits, fewer than a batch")
    upstream = data.upstream()[given.first :][: given.upstream]
    before = _right(model, [probe.prompt for probe in upstream], [str(probe.answer) for probe in upstream])
    rounds = []
    for start in range(0, len(edits) - given.batch + 1, given.batch):
        batch, started = edits[start : start + given.batch], time.process_time()
        patch = maker.fit(model, batch).patch
        seconds = time.process_time() - started
        assert patch is not None
        rounds.append({**_measure(model, patch, batch, upstream, before), "cpu_seconds": seconds / len(batch)})
        print(f"{len(rounds)}: {rounds[-1]}", file=sys.stderr)
    figures = {name: _summary([one[name] for one in rounds]) for name in rounds[0]}
    return {
        "method": method, "data": data.name, "batch": given.batch, **figures,
        "upstream": {"asked": len(upstream), "right_before": int(before.sum())}, **trained,
    }  # fmt: skip


def _arguments(told: str | None) -> argparse.ArgumentParser:
    parser = options_of_a_trial(told)
    parser.add_argument("--method", required=True)
    return parser


def options_of_a_trial(told: str | None) -> argparse.ArgumentParser:
    """What every trial of an editor is given: its model, its data, where editors are kept and how much is asked."""
    parser = argparse.ArgumentParser(description=told, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", help="a data set with training edits; by default the lab model's own")
    parser.add_argument("--out", type=Path, required=True, help="where editors are kept")
    parser.add_argument("--plain", action="store_true", help="train on each fact once, with one other wording")
    parser.add_argument("--rounds", type=int, default=20, help="batches of edits")
    parser.add_argument("--first", type=int, default=0, help="edits and questions left out at the start")
    parser.add_argument("--batch", type=int, default=10, help="edits in a batch")
    parser.add_argument("--upstream", type=int, default=500, help="questions that must stay")
    return parser


def _lessons(data: datasets.Dataset, plain: bool) -> list[Edit]:
    """The data set's training edits; `plain`: a fact once, with one other wording."""
    found = data.training()
    if not plain:
        return found
    once = {(edit.subject, edit.ground_truth): edit for edit in reversed(found)}
    return [dataclasses.replace(edit, rephrases=edit.rephrases[:1]) for edit in reversed(once.values())]


def _train(
    name: str, options: dict[str, str], model: EditableModel, lessons: Sequence[Edit], place: Path
) -> dict[str, Any]:
    """What training took; CPU time is told of this process only, so of an editor that was there already none."""
    maker = create(name, options)
    assert isinstance(maker, LearnedMethod)
    started = time.process_time()
    editor = maker.train(model, lessons, place, progress=sys.stderr.isatty())
    facts = editor.facts
    size = sum(tensor.numel() * tensor.element_size() for tensor in editor.tensors.values())
    kept = ("steps", "seconds", "lessons", "best", "start", "step_sizes", "salience")
    return {
        "options": options, "training": {name: facts[name] for name in kept if name in facts},
        "training_cpu_seconds": time.process_time() - started, "editor_bytes": size,
    }  # fmt: skip


def _measure(
    model: EditableModel, patch: Patch, batch: Sequence[Edit], upstream: Sequence[Any], before: Tensor
) -> dict[str, float]:
    targets = [edit.target for edit in batch]
    patch.attach(model)
    try:
        own = _right(model, [edit.prompt for edit in batch], targets)
        written = model.generate([edit.prompt for edit in batch])
        held_out = [(text, edit.target) for edit in batch for text in edit.rephrases[-WORDINGS:]]
        others = _right(model, [text for text, _ in held_out], [target for _, target in held_out])
        after = _right(model, [probe.prompt for probe in upstream], [str(probe.answer) for probe in upstream])
    finally:
        patch.detach(model)
    return {
        "accuracy": _share(own),
        "generated": statistics.mean(one == target for one, target in zip(written, targets, strict=True)),
        "generalization": _share(others),
        "drawdown": float((before & ~after).sum() / before.sum().clamp(min=1)),
    }


def _right(model: EditableModel, prompts: Sequence[str], answers: Sequence[str]) -> Tensor:
    parts = range(0, len(prompts), ROWS)
    return torch.cat(
        [model.greedy_match(model.encode(prompts[at : at + ROWS], answers[at : at + ROWS])).cpu() for at in parts]
    )


def _share(hits: Tensor) -> float:
    return float(hits.float().mean())


def _summary(values: Sequence[float]) -> dict[str, float]:
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"mean": statistics.mean(values), "std": spread, "n": len(values)}


if __name__ == "__main__":
    main()
