"""Versions: many models in the memory of one, each with its own edits, the base untouched, the old ones freed."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from engines import PATIENCE, Gate, answers, ask, codebook, one, running

from errata import Edit
from errata.methods._base import create
from errata.models import EditableModel
from errata.models.encoding import prompt_ids
from errata.patches.base import Patch
from errata.patches.weights import Dense, WeightPatch
from errata.serve.engine.request import Sampling
from errata.serve.engine.version import Version
from tiny import tiny_model

PROMPT, NEIGHBOUR = "The capital of France is", "Who wrote the book?"
KINDS = ("codebook", "weights")


def patch_of(kind: str, model: EditableModel, id: str = "e1", target: str = "Rome") -> Patch:
    if kind == "codebook":
        return codebook(model, PROMPT, id)
    patch = create("ft", {"lr": 0.03, "steps": 30}).fit(model, [Edit(PROMPT, target, id=id)], None).patch
    assert patch is not None
    return patch


def under(patch: Patch, arch: str, prompt: str) -> str:
    """What a model of its own answers with the patch attached."""
    model = tiny_model(arch)
    patch.attach(model)
    try:
        return model.generate([prompt], max_new_tokens=14)[0]
    finally:
        patch.detach(model)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("arch", ["gpt2", "llama", "t5"])
def test_a_version_answers_as_a_patched_model_and_shares_what_it_does_not_change(kind: str, arch: str):
    base = tiny_model(arch)
    patch, before = patch_of(kind, base), base.fingerprint()
    version = Version.of(base, 1, [patch])
    assert version.model.generate([PROMPT], max_new_tokens=14)[0] == under(patch, arch, PROMPT)
    assert base.fingerprint() == before
    own = {
        name for name, weight in version.model.model.named_parameters()
        if weight.data_ptr() != base.model.get_parameter(name).data_ptr()
    }  # fmt: skip
    assert own == set(getattr(patch, "deltas", {}))
    assert all(
        one.data_ptr() == other.data_ptr()
        for one, other in zip(version.model.model.buffers(), base.model.buffers(), strict=True)
    )


def test_a_weight_that_goes_by_two_names_stays_one():
    base = tiny_model("gpt2")
    assert base.model.get_parameter("lm_head.weight") is base.model.get_parameter("transformer.wte.weight")
    change = Dense(torch.full_like(base.model.get_parameter("lm_head.weight"), 0.5))
    patch = WeightPatch({"lm_head.weight": change}, method="ft", config={}, edits=["e1"])
    version = Version.of(base, 1, [patch])
    network = version.model.model
    assert network.get_parameter("lm_head.weight") is network.get_parameter("transformer.wte.weight")
    shift = network.get_parameter("lm_head.weight") - base.model.get_parameter("lm_head.weight")
    assert torch.allclose(shift, torch.full_like(shift, 0.5), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("arch", ["gpt2", "llama", "t5"])
def test_a_request_keeps_its_version_and_the_next_one_has_the_new_answer(kind: str, arch: str):
    base, gate = tiny_model(arch), Gate()
    patch, parent = patch_of(kind, base), base.fingerprint()
    old = [base.generate([prompt], max_new_tokens=14)[0] for prompt in (PROMPT, NEIGHBOUR)]
    new = [under(patch, arch, prompt) for prompt in (PROMPT, NEIGHBOUR)]
    assert old[0] != new[0]
    with running(base, metrics=gate) as engine:
        early = [ask(engine, PROMPT)]
        gate.reached()
        gate.let(3)
        assert engine.swap(7, [patch]).result(PATIENCE) == 7  # though the engine stands between two steps
        assert engine.head == 7
        late = [ask(engine, PROMPT), ask(engine, NEIGHBOUR), ask(engine, PROMPT, parent=True)]
        gate.open()
        got = answers(early + late)
        assert [finished.version for finished in got] == [0, 7, 7, 0]
        assert [finished.text.strip() for finished in got] == [old[0], *new, old[0]]
        assert [finished.weight_edits for finished in got] == [0, *[int(kind == "weights")] * 2, 0]
        assert base.fingerprint() == parent


@pytest.mark.parametrize("kind", KINDS)
def test_a_version_is_freed_once_it_is_old_and_its_last_answer_is_complete(kind: str):
    base, gate = tiny_model("gpt2"), Gate()
    first, second = patch_of(kind, base), patch_of(kind, base, "e2", "Berlin")
    with running(base, metrics=gate) as engine:
        engine.swap(1, [first]).result(PATIENCE)
        network = weakref.ref(engine._newest.model.model)
        pending = ask(engine, PROMPT)
        gate.reached()
        engine.swap(2, [second]).result(PATIENCE)
        gc.collect()
        assert network() is not None  # a request is on it
        assert engine.stats().versions == 3
        gate.open()
        assert answers([pending])[0].version == 1
        assert one(engine, PROMPT).version == 2
        gc.collect()
        assert network() is None
        assert not first.attached
        assert engine.stats().versions == 2


def test_prompts_of_one_request_are_answered_by_one_version_though_a_swap_comes_between():
    base, gate = tiny_model("gpt2"), Gate()
    with running(base, max_batch=1, metrics=gate) as engine:
        rows = prompt_ids(base, [NEIGHBOUR, PROMPT])
        asked = engine.submit_all([(ids, Sampling(max_tokens=3, temperature=0)) for ids in rows])
        gate.reached()  # the first one has its row, the second waits
        engine.swap(1, [patch_of("codebook", base)]).result(PATIENCE)
        late = ask(engine, PROMPT)
        gate.open()
        assert [finished.version for finished in answers([*asked, late])] == [0, 0, 1]


def test_versions_take_turns():
    base, gate = tiny_model("gpt2"), Gate()
    patch = patch_of("codebook", base)
    with running(base, metrics=gate) as engine:
        asked = [ask(engine, PROMPT), ask(engine, NEIGHBOUR)]
        gate.reached()
        engine.swap(1, [patch]).result(PATIENCE)
        asked += [ask(engine, NEIGHBOUR)] * 1
        gate.let(8)
        assert engine.stats().running == 3
        done = [len(generation._tokens) for generation in asked]
        assert abs(done[0] - done[2]) <= 3  # neither waits for the other
        gate.open()
        answers(asked)


def test_an_older_head_changes_nothing_and_a_patch_that_does_not_fit_leaves_the_newest():
    base = tiny_model("gpt2")
    patch, foreign = patch_of("codebook", base), patch_of("weights", tiny_model("llama"))
    with running(base) as engine:
        assert engine.swap(5, [patch]).result(PATIENCE) == 5
        assert engine.swap(3, []).result(PATIENCE) == 5
        with pytest.raises(Exception, match="no parameter"):
            engine.swap(6, [foreign]).result(PATIENCE)
        assert one(engine, PROMPT).version == 5
        assert engine.swap(6, []).result(PATIENCE) == 6
        assert one(engine, PROMPT).text.strip() == base.generate([PROMPT], max_new_tokens=14)[0]
