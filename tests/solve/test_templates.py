"""Contexts are seeded, come from the original model, and leave prompts as they are."""

from __future__ import annotations

import pytest
import torch

from errata import Edit
from errata.patches.weights import LowRank, WeightPatch
from errata.solve.keys import Facts
from errata.solve.templates import CHOICES, contexts
from tiny import tiny_model


def test_groups_and_weights():
    model = tiny_model("gpt2")
    memit, rome, bare = (contexts(model, style, 0) for style in ("memit", "rome", "none"))
    assert (len(memit), len(rome)) == (6, 21)
    assert memit.prefixes[0] == rome.prefixes[0] == ""
    assert memit.weights == pytest.approx((0.5, *[0.1] * 5))
    assert rome.weights == pytest.approx([1 / 21] * 21)
    assert (bare.prefixes, bare.weights) == (("",), (1.0,))
    assert all(prefix.endswith(". ") for prefix in memit.prefixes[1:] + rome.prefixes[1:])


def test_the_seed_decides_and_the_global_generator_does_not():
    first = contexts(tiny_model("gpt2"), "memit", 3)
    torch.manual_seed(99)
    state = torch.get_rng_state()
    assert contexts(tiny_model("gpt2"), "memit", 3) == first
    assert torch.equal(torch.get_rng_state(), state)
    assert contexts(tiny_model("gpt2"), "memit", 4) != first


def test_they_come_from_the_model_without_its_patches():
    plain, patched = tiny_model("gpt2"), tiny_model("gpt2")
    name = f"{patched.arch.matrix(0, 'mlp_down')}.weight"
    rows, columns = patched.model.get_submodule(name.rpartition(".")[0]).weight.shape[::-1]
    patch = WeightPatch(
        {name: LowRank(torch.ones(rows, 1), torch.ones(1, columns))}, method="m", config={}, edits=["a"]
    )
    patch.attach(patched)
    before = patched.fingerprint()
    assert contexts(patched, "memit", 0) == contexts(plain, "memit", 0)
    assert patched.fingerprint() == before


def test_only_likely_tokens_are_drawn():
    model = tiny_model("llama", bos=True)
    prefix = contexts(model, "rome", 0).prefixes[1]
    start = model.tokenizer.bos_token_id
    logits = model.model(torch.tensor([[start]])).logits[0, -1]
    logits[model.tokenizer.all_special_ids] = -torch.inf
    likely = [model.tokenizer.decode([token]).strip() for token in logits.topk(CHOICES).indices.tolist()]
    assert any(prefix.startswith(text) for text in likely)


def test_a_prompt_with_braces_is_plain_text():
    edit = Edit("The {} of {France} is", "Lyon", subject="{France}", id="e")
    facts = Facts([edit], contexts(tiny_model("gpt2"), "memit", 0))
    assert all(text.endswith("The {} of {France} is") for text in facts.prompts)
    assert all(text[end] == "}" for text, end in zip(facts.prompts, facts.ends, strict=True))
