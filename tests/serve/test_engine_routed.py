"""A routed model in the engine: prompts in an edit's scope and others share a batch, and each gets its own answer."""

from __future__ import annotations

import pytest
import torch
from engines import answers, ask, running

from errata.models import EditableModel
from errata.patches.networks import Networks, Placed, Sizes, text_ids
from errata.patches.router import Entry, RouterPatch
from errata.serve.engine.request import Sampling
from tiny import tiny_model

PROMPTS = ["Who wrote the book?", "The capital of France is", "Madrid and Vienna are cities in", "Berlin"]
SIZES = Sizes(scope_blocks=1, blocks=2, width=8)


def router(model: EditableModel, prompt: str) -> RouterPatch:
    """Untrained networks, and one edit in whose scope the prompt is for certain."""
    placed = Placed.fresh(model, SIZES)
    with torch.no_grad():
        embedding = placed.embed([text_ids(model, prompt)])[0]
    entry = Entry("a", prompt, embedding, tuple(placed.context(model, f"{prompt} yes")))
    networks = Networks(SIZES, placed.tensors())
    return RouterPatch([entry], networks, threshold=0.95, method="serac", config={}, edits=["a"])


@pytest.mark.parametrize("arch", ["t5", "bert"])
def test_routed_and_other_rows_of_a_batch_get_the_answers_they_get_alone(arch: str):
    model, routed = tiny_model(arch), tiny_model(arch)
    patch = router(model, PROMPTS[1])
    own = model.generate(PROMPTS, max_new_tokens=8)
    patch.attach(routed)
    expected = [routed.generate([prompt], max_new_tokens=8)[0] for prompt in PROMPTS]
    assert expected[1] != own[1]
    assert [*expected[:1], *expected[2:]] == [*own[:1], *own[2:]]
    patch.detach(routed)
    with running(model, max_batch=4) as engine:
        engine.swap(1, [patch]).result()
        # Of different lengths, so that rows leave while others are written.
        lengths = [3, 8, 5, 8]
        got = answers([
            ask(engine, prompt, Sampling(max_tokens=length, temperature=0))
            for prompt, length in zip(PROMPTS, lengths, strict=True)
        ])  # fmt: skip
        base = answers([ask(engine, PROMPTS[1], Sampling(max_tokens=8, temperature=0), parent=True)])
    alone = [
        expected[place] if length == 8 else _cut(routed, patch, PROMPTS[place], length)
        for place, length in enumerate(lengths)
    ]
    assert [one.text.strip() for one in got] == alone
    assert base[0].text.strip() == own[1]
    assert [[fired.edit for fired in one.fired] for one in got] == [[], ["a"], [], []]


def _cut(model: EditableModel, patch: RouterPatch, prompt: str, length: int) -> str:
    patch.attach(model)
    said = model.generate([prompt], max_new_tokens=length)[0]
    patch.detach(model)
    return said
