"""Routers on running models: what is in the scope of an edit is answered beside the model, and no other bit moves."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from contract.marks import logits, marks
from errata.errors import BadModel, BadPatch, WrongModel
from errata.models import Batch, EditableModel
from errata.models.encoding import end_id
from errata.models.factors import gradient_factors
from errata.models.hooks import hidden_of
from errata.patches.files import load_patch, save_patch
from errata.patches.networks import Networks, Placed, Sizes, text_ids
from errata.patches.router import Entry, RouterPatch
from tiny import tiny_model
from tiny_bart import tiny_bart

PROMPT, OTHER, THIRD = "The capital of France is", "Who wrote the book?", "Madrid and Vienna are cities in"
SIZES = Sizes(scope_blocks=1, blocks=2, width=8)
BOTH = pytest.mark.parametrize("arch", ["t5", "bert"])


def entry(placed: Placed, model: EditableModel, id: str, prompt: str, target: str, near: str = "") -> Entry:
    """An edit whose embedding is that of the prompt `near` alone, which is then in its scope for certain."""
    with torch.no_grad():
        embedding = placed.embed([text_ids(model, near or prompt.strip())])[0]
    return Entry(id, prompt, embedding, tuple(placed.context(model, f"{prompt} {target}")))


def router(model: EditableModel, *told: tuple[str, str, str], threshold: float = 0.95) -> RouterPatch:
    """A router of untrained networks and edits (id, prompt, target)."""
    placed = Placed.fresh(model, SIZES)
    entries = [entry(placed, model, *one) for one in told]
    networks = Networks(SIZES, placed.tensors())
    return RouterPatch(
        entries, networks, threshold=threshold, method="serac", config={}, edits=[one.edit for one in entries]
    )


def attached(arch: str, *told: tuple[str, str, str]) -> tuple[EditableModel, RouterPatch]:
    model = tiny_model(arch)
    patch = router(model, *(told or [("a", PROMPT, "yes")]))
    patch.attach(model)
    return model, patch


def beside(model: EditableModel, patch: RouterPatch, number: int, prompt: str) -> Tensor:
    """What the counterfactual model says to an edit, its end token, and a prompt: read by hand, alone."""
    placed = patch.networks.on(model)
    context = list(patch.entries[number].context)
    row = text_ids(model, prompt)
    ids = [*row[:1], *context, *row[1:]] if model.task == "classification" else [*context, *row]
    inputs = {"input_ids": torch.tensor([ids])}
    if model.task == "seq2seq":
        inputs["decoder_input_ids"] = torch.tensor([[model.model.config.decoder_start_token_id]])
    with torch.no_grad():
        return placed.counterfactual(**inputs).logits


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


def test_every_way_of_decoding_writes_the_same():
    model, _ = attached("t5", ("a", PROMPT, "yes"), ("b", THIRD, "no"))
    prompts = [OTHER, PROMPT, THIRD]
    batch = model.encode(prompts, padding_side="left")
    written = generate(model, **ids(batch), max_new_tokens=6, do_sample=False)
    uncached = generate(model, **ids(batch), max_new_tokens=6, do_sample=False, use_cache=False)
    assert torch.equal(written, uncached)
    texts = [str(model.tokenizer.decode(row, skip_special_tokens=True)).strip() for row in written]
    assert model.generate(prompts, max_new_tokens=6) == texts
    assert [model.generate([prompt], max_new_tokens=6)[0] for prompt in prompts] == texts
    with torch.no_grad():
        forced = model.model(**ids(batch), decoder_input_ids=written[:, :-1]).logits.argmax(-1)
    going = written[:, :-1].ne(end_id(model)).cumprod(1).bool()  # up to the end of each answer
    assert torch.equal(forced[going], written[:, 1:][going])


def generate(model: EditableModel, **options: Any) -> Tensor:
    """The model's own `generate`."""
    return cast(Any, model.model).generate(**options)


def ids(batch: Batch) -> dict[str, Tensor]:
    return {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}


def test_another_encoder_decoder_is_routed_too():
    """With learned positions, where a cache that starts anew would tell."""
    model = tiny_bart()
    prompts = [OTHER, PROMPT]
    own = model.generate(prompts, max_new_tokens=6)
    patch = router(model, ("a", PROMPT, "yes"), threshold=0.999)
    patch.attach(model)
    batch = model.encode(prompts, padding_side="left")
    written = generate(model, **ids(batch), max_new_tokens=6, do_sample=False)
    assert torch.equal(written, generate(model, **ids(batch), max_new_tokens=6, do_sample=False, use_cache=False))
    said = model.generate(prompts, max_new_tokens=6)
    assert said[0] == own[0]
    torch.testing.assert_close(logits(model, prompts)[1, 0], beside(model, patch, 0, PROMPT)[0, 0])


def test_sampling_is_by_the_routed_logits():
    model, _ = attached("t5")
    sampled = []
    for use_cache in (True, False):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            batch = model.encode([PROMPT, OTHER])
            sampled.append(generate(model, **ids(batch), max_new_tokens=6, do_sample=True, use_cache=use_cache))
    assert torch.equal(*sampled)


def test_beams_are_refused_in_one_line():
    model, _ = attached("t5")
    with pytest.raises(BadModel, match="without beams"):
        generate(model, **ids(model.encode([PROMPT])), num_beams=2, max_new_tokens=3)


def test_a_foreign_cache_is_refused():
    model, patch = attached("t5")
    patch.detach(model)
    batch = model.encode([PROMPT])
    with torch.no_grad():
        out = model.model(**model.inputs(batch), use_cache=True)
        patch.attach(model)
        with pytest.raises(BadModel, match="cache"):
            model.model(**model.inputs(batch), past_key_values=out.past_key_values, use_cache=True)


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


@pytest.mark.parametrize("side", ["left", "right"])
def test_it_is_told_who_answered(side: str):
    model, patch = attached("t5")
    batch = model.encode([OTHER, PROMPT], padding_side=side)  # type: ignore[arg-type]
    with patch.record() as firings:
        generate(model, **ids(batch), max_new_tokens=3)
    assert [(one.row, one.position, one.edit) for one in firings] == [(1, int(batch.query[1]), "a")]
    assert firings[0].distance <= firings[0].radius


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


def test_what_the_encoder_said_is_forgotten_with_it():
    model, _ = attached("t5")
    batch = model.encode([PROMPT])
    with torch.no_grad():
        encoded = model.model.get_encoder()(**ids(batch))
        expected = logits(model, [PROMPT])
        given = model.model(encoder_outputs=encoded, **model.inputs(batch)).logits
        assert torch.equal(given, expected)
        alone = {"decoder_input_ids": batch.decoder_input_ids, "attention_mask": batch.attention_mask}
        assert torch.equal(model.model(encoder_outputs=encoded, **alone).logits, expected)
        encoded.last_hidden_state = hidden_of(encoded[0]).clone()
        with pytest.raises(BadModel, match="which prompts"):
            model.model(encoder_outputs=encoded, **alone)
