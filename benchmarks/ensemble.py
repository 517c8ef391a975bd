"""What an ensemble costs beside its two models: big alone, small alone and both together, taking turns in one process.

    python benchmarks/ensemble.py                    (lab:gpt and lab:backpack)
    python benchmarks/ensemble.py --random --rounds 5     (sizes as published: GPT-2, 124 M, and a Backpack of 170 M)

Senses of all words of lab-counterfacts' prompts are edited, the worst case: there is something to say everywhere. A
change of a matrix of the small model needs a second pass of it and is shown beside that. Seconds are the process's own
CPU time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from errata.datasets import get
from errata.models import EditableModel
from errata.models.backpack.config import BackpackConfig
from errata.models.backpack.modeling import BackpackForCausalLM
from errata.models.backpack.words import backpack_of
from errata.patches.base import Patch
from errata.patches.logits import LogitsPatch
from errata.patches.senses import SensePatch
from errata.patches.weights import LowRank, WeightPatch

MADE: dict[str, Any] = {"method": "made", "config": {}}
WRITTEN = 24  # tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--big", default="lab:gpt")
    parser.add_argument("--small", default="lab:backpack")
    parser.add_argument("--random", action="store_true", help="random weights of published sizes instead")
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    big, small = _random() if given.random else (EditableModel.load(given.big), EditableModel.load(given.small))
    prompts = [edit.prompt for edit in get("lab-counterfacts").edits()[:64]]
    rows = [
        {"work": work, "patch": kind, **_turns(big, small, patch, job, given.rounds)}
        for kind, patch in {"senses": _senses(small, prompts), "matrix": _matrix(small)}.items()
        for work, job in _jobs(prompts).items()
    ]
    print(json.dumps([{**row, "threads": torch.get_num_threads()} for row in rows], indent=2))


def _random() -> tuple[EditableModel, EditableModel]:
    """Of the published sizes, under lab:gpt's tokenizer, which uses a part of their vocabulary."""
    torch.manual_seed(0)
    tokenizer = EditableModel.load("lab:gpt").tokenizer
    networks = (GPT2LMHeadModel(GPT2Config()), BackpackForCausalLM(BackpackConfig(vocab_size=50257)))
    models = [EditableModel(network.eval(), tokenizer) for network in networks]
    return models[0], models[1]


def _jobs(prompts: list[str]) -> dict[str, Callable[[EditableModel], object]]:
    def read(model: EditableModel) -> object:
        with torch.no_grad():
            return model.forward(model.encode(prompts))

    def write(count: int) -> Callable[[EditableModel], object]:
        def job(model: EditableModel) -> object:
            inputs = model.inputs(model.encode(prompts[:count], padding_side="left"))
            return model.model.generate(  # type: ignore[operator]
                **inputs, max_new_tokens=WRITTEN, min_new_tokens=WRITTEN, do_sample=False)

        return job

    return {f"read {len(prompts)}": read, f"write {WRITTEN} x 1": write(1), f"write {WRITTEN} x 16": write(16)}


def _turns(
    big: EditableModel, small: EditableModel, patch: Patch, job: Callable[[EditableModel], object], rounds: int
) -> dict[str, Any]:
    """Medians of what each takes, and of how much the ensemble takes by the sum of its models in the same round."""
    both = LogitsPatch.of(small, [patch], 0.7, **MADE, edits=["e1"])
    took: dict[str, list[float]] = {"big": [], "small": [], "ensemble": []}
    for number in range(rounds + 1):
        for name, model in (("big", big), ("small", small), ("ensemble", big)):
            with _listening(both, big if name == "ensemble" else None):
                started = time.process_time()
                job(model)
                took[name].append(time.process_time() - started)
        if not number:  # the first round warms up
            for seconds in took.values():
                seconds.clear()
    shares = [whole / (one + other) for one, other, whole in zip(*took.values(), strict=True)]
    medians = {name: statistics.median(seconds) for name, seconds in took.items()}
    return {**medians, "ensemble by sum": statistics.median(shares), "n": rounds}


@contextmanager
def _listening(patch: LogitsPatch, model: EditableModel | None) -> Iterator[None]:
    if model is None:
        yield
        return
    patch.attach(model)
    try:
        yield
    finally:
        patch.detach(model)


def _senses(small: EditableModel, prompts: list[str]) -> SensePatch:
    """Two senses of every token of the prompts."""
    config = backpack_of(small).config
    words = sorted({int(id) for row in small.tokenizer(prompts)["input_ids"] for id in row})
    pairs = torch.tensor([[word, sense] for word in words for sense in (0, 1)])
    vectors = 0.01 * torch.randn(len(pairs), config.n_embd, generator=torch.Generator().manual_seed(0))
    return SensePatch(pairs, vectors, config.num_senses, [range(len(pairs))], **MADE, edits=["e1"])


def _matrix(small: EditableModel) -> WeightPatch:
    """A rank-one change of a matrix of the trunk."""
    path = small.arch.matrix(0, "mlp_down") + ".weight"
    generator = torch.Generator().manual_seed(0)
    sizes = backpack_of(small).config
    parts = (torch.randn(sizes.n_embd, 1, generator=generator), torch.randn(1, sizes.n_inner or 0, generator=generator))
    return WeightPatch({path: LowRank(*(0.01 * part for part in parts))}, **MADE, edits=["e1"])


if __name__ == "__main__":
    main()
