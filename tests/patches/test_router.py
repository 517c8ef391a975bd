"""Routers on running models: what is in the scope of an edit is answered beside the model, and no other bit moves."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import pytest
import torch
from torch import nn

from contract.marks import logits, marks
from errata.errors import BadModel, BadPatch, WrongModel
from errata.models.factors import gradient_factors
from errata.patches.files import load_patch, save_patch
from errata.patches.networks import Networks, Placed, text_ids
from errata.patches.router import Entry, RouterPatch
from patches.routers import BOTH, OTHER, PROMPT, SIZES, THIRD, attached, beside, entry, ids, router
from tiny import tiny_model


@BOTH
def test_what_is_in_scope_is_answered_beside_and_the_rest_keeps_its_bits(arch: str):
    model = tiny_model(arch)
    prompts = [OTHER, PROMPT, THIRD]
    before = logits(model, prompts)
    patch = router(model, ("a", PROMPT, "yes"))
    patch.attach(model)
    after = logits(model, prompts)
    assert torch.equal(after[[0, 2]], before[[0, 2]])
    assert not torch.equal(after[1], before[1])
    torch.testing.assert_close(after[1].flatten(), beside(model, patch, 0, PROMPT).flatten())


@BOTH
def test_the_edit_stands_before_the_prompt_with_its_end_token_between(arch: str):
    model, patch = attached(arch)
    tokens = model.tokenizer.convert_ids_to_tokens(list(patch.entries[0].context))
    assert tokens[-1] == ("</s>" if arch == "t5" else "[SEP]")
    assert model.tokenizer.decode(list(patch.entries[0].context), skip_special_tokens=True) == f"{PROMPT} yes"
    placed = patch.networks.on(model)
    row = text_ids(model, OTHER)
    fed = placed.edited([7, 8], row)
    assert fed == ([7, 8, *row] if arch == "t5" else [row[0], 7, 8, *row[1:]])


@BOTH
def test_detached_it_leaves_no_mark(arch: str):
    model = tiny_model(arch)
    before, said = marks(model), logits(model, [PROMPT, OTHER])
    patch = router(model, ("a", PROMPT, "yes"))
    patch.attach(model)
    logits(model, [PROMPT, OTHER])
    patch.detach(model)
    assert marks(model) == before
    assert torch.equal(logits(model, [PROMPT, OTHER]), said)


@BOTH
def test_padding_and_batching_make_no_difference(arch: str):
    model, _ = attached(arch, ("a", PROMPT, "yes"), ("b", THIRD, "no"))
    prompts = [PROMPT, OTHER, THIRD]
    together = logits(model, prompts)
    for row, prompt in enumerate(prompts):
        torch.testing.assert_close(together[row], logits(model, [prompt])[0], atol=1e-4, rtol=1e-4)
    with torch.no_grad():
        left = model.forward(model.encode(prompts, padding_side="left"))
    torch.testing.assert_close(together, left, atol=1e-4, rtol=1e-4)


def test_labels_are_refused_where_an_edit_answers():
    for arch in ("t5", "bert"):
        model, _ = attached(arch)
        told = {"labels": torch.tensor([[5, 6]] if arch == "t5" else [1])}
        with pytest.raises(BadModel, match="loss"):
            model.model(**ids(model.encode([PROMPT])), **told)
        assert model.model(**ids(model.encode([OTHER])), **told).loss > 0


@BOTH
def test_of_several_edits_of_one_prompt_the_newest_answers_until_it_is_undone(arch: str):
    model, patch = attached(arch, ("a", PROMPT, "yes"), ("b", f"{PROMPT} ", "no"), ("c", THIRD, "yes"))
    torch.testing.assert_close(logits(model, [PROMPT]).flatten(), beside(model, patch, 1, PROMPT).flatten())
    older = patch.without(["b"])
    assert older is not None
    assert older.edits == ("a", "c")
    patch.detach(model)
    older.attach(model)
    torch.testing.assert_close(logits(model, [PROMPT]).flatten(), beside(model, patch, 0, PROMPT).flatten())
    assert patch.without(["a", "b", "c"]) is None


def test_of_several_edits_in_scope_the_most_similar_answers():
    model = tiny_model("t5")
    placed = Placed.fresh(model, SIZES)
    exact = entry(placed, model, "a", PROMPT, "yes")
    blurred = Entry("b", OTHER, torch.nn.functional.normalize(exact.embedding + 0.02, dim=0), exact.context)
    patch = RouterPatch(
        [exact, blurred], Networks(SIZES, placed.tensors()), threshold=0.5, method="serac", config={}, edits=["a", "b"]
    )
    with torch.no_grad():
        claims = patch.claims(patch.networks.on(model), [text_ids(model, PROMPT)])
        assert [(claim.row, claim.entry.edit) for claim in claims] == [(0, "a")]
        (only,) = patch.without(["a"]).claims(patch.networks.on(model), [text_ids(model, PROMPT)])  # type: ignore[union-attr]
    assert only.entry.edit == "b"
    scale = placed.scope.scale.detach().exp()
    assert only.distance == pytest.approx(float((exact.embedding - blurred.embedding).norm()), abs=2e-3)
    assert only.distance <= patch.radius(placed) == pytest.approx(float((torch.log(torch.tensor(2.0)) / scale).sqrt()))


def test_a_newer_router_is_asked_first():
    model, older = attached("t5")
    newer = router(model, ("z", PROMPT, "no"))
    for patch in (older, newer):
        patch.detach(model)
    older.order, newer.order = 1, 2
    for first, second in ((older, newer), (newer, older)):
        first.attach(model)
        second.attach(model)
        torch.testing.assert_close(logits(model, [PROMPT])[0, 0], beside(model, newer, 0, PROMPT)[0, 0])
        first.detach(model)
        second.detach(model)


def test_a_prompt_that_leaves_no_room_for_the_edit_is_the_models_own():
    model = tiny_model("bert")
    long = " ".join(["city"] * 12)
    assert model.context is not None
    assert len(text_ids(model, long)) <= model.context
    before = logits(model, [long])
    patch = router(model, ("a", " ".join(["Rome"] * 12), "yes"))
    patch.entries[0].embedding.copy_(patch.networks.on(model).embed([text_ids(model, long)])[0])
    shorter = RouterPatch.from_parts(patch.header(), patch.tensors())
    assert len(shorter.entries[0].context) + len(text_ids(model, long)) > model.context
    shorter.attach(model)
    assert torch.equal(logits(model, [long]), before)


def test_a_model_seen_from_inside_is_not_routed():
    """Other methods look for a state of the model itself, on the blocks above it."""
    for arch in ("t5", "bert"):
        plain, (model, _) = tiny_model(arch), attached(arch)
        for layer in range(len(model.arch) - 1):
            own, routed = (one.prefix(one.encode([PROMPT, OTHER]), layer) for one in (plain, model))
            assert torch.equal(own.hidden, routed.hidden)
            with plain.preserved(), model.preserved():
                assert torch.equal(own.resume(own.hidden), routed.resume(routed.hidden))


def test_gradients_of_a_routed_row_are_zero():
    for arch, target in (("t5", "yes"), ("bert", "yes")):
        model, _ = attached(arch)
        path = model.arch.matrix(0, "mlp_down")
        found = gradient_factors(model, model.encode([PROMPT, OTHER], [target, target]), [path])[path]
        assert not found.gradients[0].any()
        assert found.gradients[1].any()
        alone = gradient_factors(model, model.encode([PROMPT], [target]), [path])[path]
        assert not alone.gradients.any()


@BOTH
def test_a_file_gives_equal_logits(arch: str, tmp_path: Path):
    model, patch = attached(arch)
    save_patch(tmp_path / "one.safetensors", patch, {"name": arch, "fingerprint": "f"})
    loaded = load_patch(tmp_path / "one.safetensors", fingerprint="f")
    other = tiny_model(arch)
    loaded.attach(other)
    prompts = [PROMPT, OTHER]
    assert torch.equal(logits(other, prompts), logits(model, prompts))
    assert loaded.describe() == patch.describe()
    assert loaded.slot == patch.slot


def test_the_networks_are_in_the_first_increment_alone(tmp_path: Path):
    model, first = attached("t5")
    first.detach(model)
    more = router(model, ("b", THIRD, "no"))
    whole = RouterPatch.extended(first, more)
    part = whole.increment(first)
    assert part.partial
    assert part.size < 0.01 * first.size
    save_patch(tmp_path / "two.safetensors", part, {"name": "t5", "fingerprint": "f"})
    part = load_patch(tmp_path / "two.safetensors", fingerprint="f")
    with pytest.raises(BadPatch, match="open the sheet"):
        part.attach(model)
    whole.attach(model)
    expected = logits(model, [PROMPT, THIRD])
    whole.detach(model)
    again = RouterPatch.joined([first, part])
    again.attach(model)
    assert torch.equal(logits(model, [PROMPT, THIRD]), expected)
    again.detach(model)
    without = RouterPatch.joined([first.shell(), part])
    assert isinstance(without, RouterPatch)
    assert without.edits == ("b",)
    without.attach(model)
    torch.testing.assert_close(logits(model, [THIRD])[0, 0], beside(model, without, 0, THIRD)[0, 0])


def test_edits_made_with_other_networks_do_not_join():
    _, first = attached("t5")
    other = Networks(SIZES, {name: one + 1 for name, one in first.networks.tensors.items()})
    strange = RouterPatch([], other, threshold=0.95, method="serac", config={}, edits=[])
    with pytest.raises(BadPatch, match="one trained editor"):
        RouterPatch.extended(first, strange)
    with pytest.raises(BadPatch, match="not those"):
        Networks(SIZES, first.networks.tensors, other.digest)


def test_it_fits_no_other_model():
    _, patch = attached("bert")
    with pytest.raises(WrongModel, match="encoder-decoder or a classifier"):
        patch.attach(tiny_model("gpt2"))
    for arch in ("t5", "roberta"):
        model = tiny_model(arch)
        before = marks(model)
        with pytest.raises(WrongModel, match="another model"):
            patch.attach(model)
        assert marks(model) == before


def test_it_keeps_no_model_alive():
    model, patch = attached("t5")
    model.generate([PROMPT, OTHER], max_new_tokens=2)
    gone = weakref.ref(model.model)
    del model
    gc.collect()
    assert gone() is None
    assert not patch.attached


@BOTH
def test_in_bfloat16_and_train_mode_the_edit_answers_all_the_same(arch: str):
    model = tiny_model(arch)
    nn.Module.to(model.model, torch.bfloat16)
    patch = router(model, ("a", PROMPT, "yes"))
    before = logits(model, [OTHER])
    patch.attach(model)
    assert torch.equal(logits(model, [OTHER]), before)
    expected = beside(model, patch, 0, PROMPT).bfloat16()
    assert torch.equal(logits(model, [PROMPT]).flatten(), expected.flatten())
    model.model.train()  # with dropout
    assert not torch.equal(logits(model, [OTHER]), before)
    assert torch.equal(logits(model, [PROMPT]).flatten(), expected.flatten())
