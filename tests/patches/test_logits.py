"""Logits patches: the ensemble's equation by hand, and the same text read in every way there is to read it."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache

from contract.marks import marks
from ensembles import TEXT, WORDS, big, by_hand, ensemble, logits_of, sense_patch, small, weight_patch
from errata.errors import BadModel, BadPatch, WrongModel
from errata.models import EditableModel
from errata.patches.base import Inseparable, Patch
from errata.patches.files import load_patch, save_patch
from errata.patches.logits import LogitsPatch
from errata.serve.engine.rows import JoiningRows, begin
from tiny import tiny_model

IDS = torch.tensor([[5, 9, 2, 9, 7, 30], [11, 4, 9, 8, 3, 2]])
KINDS = {"senses": lambda: [sense_patch()], "weights": lambda: [weight_patch()],
         "both": lambda: [sense_patch(), weight_patch()]}  # fmt: skip
HOWS = [{}, {"num_beams": 3, "num_return_sequences": 2}, {"do_sample": True}, {"prompt_lookup_num_tokens": 2}]


@pytest.fixture(params=KINDS)
def patches(request: pytest.FixtureRequest) -> list[Patch]:
    return KINDS[request.param]()


@pytest.fixture
def model(patches: list[Patch]) -> EditableModel:
    """A big model with an ensemble attached."""
    listening = big()
    ensemble(small(), patches).attach(listening)
    listening.model.requires_grad_(False)
    return listening


@pytest.mark.parametrize("arch", ["gpt2", "llama", "gpt_neox", "backpack"])
def test_the_equation_by_hand(patches: list[Patch], arch: str) -> None:
    listening = big(arch)
    expected = by_hand(big(arch), small(), patches, 0.7, IDS)
    ensemble(small(), patches).attach(listening)
    torch.testing.assert_close(logits_of(listening, IDS), expected, atol=2e-5, rtol=1e-5)
    assert (expected - logits_of(big(arch), IDS)).abs().max() > 0.1


def test_a_large_model_that_is_the_small_one_says_what_it_says_edited(patches: list[Patch]) -> None:
    listening, edited = small(), small()
    ensemble(small(), patches, beta=1.0).attach(listening)
    for patch in patches:
        patch.attach(edited)
    chances = [logits_of(one, IDS).log_softmax(-1) for one in (listening, edited)]
    torch.testing.assert_close(*chances, atol=2e-5, rtol=1e-5)


def test_where_no_edited_word_is_in_sight_not_a_bit_changes() -> None:
    listening, plain = big(), logits_of(big(), IDS)
    ensemble(small(), [sense_patch(words=(7,))]).attach(listening)
    now = logits_of(listening, IDS)
    assert torch.equal(now[1], plain[1])
    assert torch.equal(now[0, :4], plain[0, :4])
    assert not torch.equal(now[0, 4:], plain[0, 4:])


def test_two_patches_add_up_and_come_off_in_any_order() -> None:
    listening, first, second = big(), ensemble(small(), [sense_patch()]), ensemble(small(), [weight_patch()], 0.3)
    before, plain = marks(listening), logits_of(big(), IDS)
    first.attach(listening)
    alone = logits_of(listening, IDS)
    second.attach(listening)
    both = logits_of(listening, IDS)
    parts = [
        by_hand(big(), small(), added, beta, IDS) - plain
        for added, beta in (([sense_patch()], 0.7), ([sense_patch(), weight_patch()], 0.3), ([sense_patch()], 0.3))
    ]
    # Of the second, what it changes on top of the first.
    torch.testing.assert_close(both, plain + parts[0] + parts[1] - parts[2], atol=4e-5, rtol=1e-5)
    first.detach(listening)
    first.attach(listening)
    assert torch.equal(logits_of(listening, IDS), both)
    second.detach(listening)
    assert torch.equal(logits_of(listening, IDS), alone)
    first.detach(listening)
    assert torch.equal(logits_of(listening, IDS), plain)
    assert marks(listening) == before


def test_patches_of_one_strength_are_the_small_model_edited_by_all(patches: list[Patch]) -> None:
    listening, other = big(), sense_patch("s9", words=(9, 11), seed=7)
    for part in (*patches, other):
        ensemble(small(), [part]).attach(listening)
    expected = by_hand(big(), small(), [*patches, other], 0.7, IDS)
    torch.testing.assert_close(logits_of(listening, IDS), expected, atol=2e-5, rtol=1e-5)


def test_senses_heard_in_two_strengths() -> None:
    listening, other = big(), sense_patch("s9", words=(9, 11), seed=7)
    ensemble(small(), [sense_patch()], 0.7).attach(listening)
    ensemble(small(), [other], 0.4).attach(listening)
    first, alone, both = (
        by_hand(big(), small(), parts, beta, IDS)
        for parts, beta in (([sense_patch()], 0.7), ([sense_patch()], 0.4), ([sense_patch(), other], 0.4))
    )
    torch.testing.assert_close(logits_of(listening, IDS), first + both - alone, atol=4e-5, rtol=1e-5)


def test_one_by_one_and_batched_agree(model: EditableModel) -> None:
    together = logits_of(model, IDS)
    for row in range(2):
        torch.testing.assert_close(together[row], logits_of(model, IDS[row : row + 1])[0], atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("made", [lambda _: None, lambda _: DynamicCache(), lambda c: DynamicCache(config=c)])
def test_a_cache_changes_nothing(model: EditableModel, made) -> None:
    whole, network = logits_of(model, IDS), model.model
    cache, parts = made(network.config), []
    for part in IDS.split([2, 3, 1], dim=1):
        out = network(part, past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        parts.append(out.logits)
    assert cache.get_seq_length() == 6
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=2e-5, rtol=1e-5)


def test_what_is_done_to_the_cache_is_done_to_the_small_models_too(model: EditableModel) -> None:
    whole, network = logits_of(model, IDS), model.model
    cache = network(IDS[:, :5], use_cache=True).past_key_values
    copied = copy.deepcopy(cache)
    cache.crop(-2)
    cache.reorder_cache(torch.tensor([1, 0]))
    swapped = network(IDS[[1, 0], 3:], past_key_values=cache).logits
    torch.testing.assert_close(swapped[[1, 0]], whole[:, 3:], atol=2e-5, rtol=1e-5)
    copied.batch_select_indices(torch.tensor([1]))
    copied.batch_repeat_interleave(2)
    twice = network(IDS[[1, 1], 5:], past_key_values=copied).logits
    torch.testing.assert_close(twice, whole[[1, 1], 5:], atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("how", HOWS)
def test_generate_is_the_same_with_and_without_a_cache(model: EditableModel, how: dict) -> None:
    ids = IDS[:1] if "prompt_lookup_num_tokens" in how else IDS
    written = []
    for cached in (True, "prompt_lookup_num_tokens" in how):  # which there is not without a cache
        torch.manual_seed(3)  # of sampling
        plain = {} if cached is True and written else how
        written.append(model.model.generate(ids, max_new_tokens=8, use_cache=cached, eos_token_id=None, **plain))
    assert torch.equal(*written)


def test_generate_writes_what_the_equation_says(patches: list[Patch], model: EditableModel) -> None:
    written = IDS
    for _ in range(6):
        logits = by_hand(big(), small(), patches, 0.7, written)
        written = torch.cat([written, logits[:, -1:].argmax(-1)], 1)
    assert torch.equal(model.model.generate(IDS, max_new_tokens=6, eos_token_id=None), written)
    assert not torch.equal(big().model.generate(IDS, max_new_tokens=6, eos_token_id=None), written)


def test_padding_on_either_side_changes_nothing(model: EditableModel) -> None:
    prompts = [TEXT, "Who wrote the book?", "Rome"]
    asked = [model.encode(prompts, ["Rome"] * 3, padding_side=side) for side in ("left", "right")]
    with torch.no_grad():
        rows = [model.forward(batch)[batch.gold != -100] for batch in asked]
    torch.testing.assert_close(*rows, atol=5e-5, rtol=1e-4)
    alone = [model.generate([prompt], max_new_tokens=6)[0] for prompt in prompts]
    assert model.generate(prompts, max_new_tokens=6) == alone


@pytest.mark.parametrize("keep", [1, 3, torch.tensor([0, 4])])
def test_only_the_logits_asked_for(model: EditableModel, keep: int | Tensor) -> None:
    expected = logits_of(model, IDS)
    places = keep if isinstance(keep, Tensor) else torch.arange(6 - keep, 6)
    with torch.no_grad():
        found = model.model(IDS, logits_to_keep=keep).logits
    torch.testing.assert_close(found, expected[:, places], atol=2e-5, rtol=1e-5)


def test_beyond_what_the_small_model_can_read_it_says_nothing(patches: list[Patch]) -> None:
    little, listening, ids = small(), big(), torch.tensor([[9] * 20])
    little.context = 12
    ensemble(little, patches).attach(listening)
    now, plain = logits_of(listening, ids), logits_of(big(), ids)
    torch.testing.assert_close(now[:, :12], by_hand(big(), small(), patches, 0.7, ids)[:, :12], atol=2e-5, rtol=1e-5)
    assert torch.equal(now[:, 12:], plain[:, 12:])


def test_a_patch_attached_to_a_text_half_read_reads_it_from_the_seam() -> None:
    """As where one version's patch takes another's place while an answer is being written."""
    listening, first, second = big(), ensemble(small(), [sense_patch()]), ensemble(small(), [weight_patch()], 0.3)
    first.attach(listening)
    with torch.no_grad():
        cache = listening.model(IDS[:, :4], use_cache=True).past_key_values
        second.attach(listening)
        late = listening.model(IDS[:, 4:], past_key_values=cache).logits
    torch.testing.assert_close(late, logits_of(listening, IDS)[:, 4:], atol=2e-5, rtol=1e-5)


def test_rows_that_join_and_leave_a_batch_take_their_caches_along(model: EditableModel) -> None:
    texts = [[5, 9, 2, 9], [11, 4, 9, 8, 3, 2], [30, 2]]
    rows, late = begin(model, texts[:2]), begin(model, texts[2:])
    rows.feed([9, 5])
    late.feed([68])
    assert isinstance(rows, JoiningRows)
    assert isinstance(late, JoiningRows)
    rows.join(late)
    with torch.no_grad():
        rows.step()
        for text, token in zip(texts, (9, 5, 68), strict=True):
            text.append(token)
        torch.testing.assert_close(rows.logits, last_logits(model, texts), atol=2e-5, rtol=1e-5)
        rows.keep([2, 0])
        rows.feed([2, 30])
        rows.step()
    kept = [[*texts[2], 2], [*texts[0], 30]]
    torch.testing.assert_close(rows.logits, last_logits(model, kept), atol=2e-5, rtol=1e-5)


def last_logits(model: EditableModel, texts: list[list[int]]) -> Tensor:
    return torch.stack([logits_of(model, torch.tensor([text]))[0, -1] for text in texts])


def test_the_upper_part_of_the_large_model_alone_is_heard_too(model: EditableModel) -> None:
    """As methods run it that are fitted on top of an ensemble."""
    batch = model.encode([TEXT, "Who wrote the book?"], ["Rome", "Berlin"])
    with torch.no_grad():
        expected = model.forward(batch)
        prefix = model.prefix(batch, 1, start=2)
        torch.testing.assert_close(prefix.resume(prefix.hidden), expected[:, 2:], atol=3e-5, rtol=1e-5)
        rows = torch.tensor([1])
        torch.testing.assert_close(prefix.resume(prefix.hidden[rows], rows), expected[rows, 2:], atol=3e-5, rtol=1e-5)


def test_a_cache_that_nobody_saw_being_read_is_refused() -> None:
    listening = big()
    cache = listening.model(IDS[:, :4], use_cache=True).past_key_values
    ensemble(small(), [sense_patch()]).attach(listening)
    with pytest.raises(BadModel, match="cannot follow a cache of 4 tokens"):
        listening.model(IDS[:, 4:], past_key_values=cache)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"inputs_embeds": torch.zeros(1, 3, 32)}, "no token ids"),
        ({"input_ids": IDS, "labels": IDS}, "gives no loss"),
        ({"input_ids": IDS, "attention_mask": torch.zeros(2, 1, 6, 6)}, "plain attention mask"),
        ({"input_ids": IDS, "return_dict": False}, "leave out return_dict"),
    ],
)
def test_what_a_small_model_cannot_follow_is_refused(given: dict, why: str) -> None:
    listening = big()
    ensemble(small(), [sense_patch()]).attach(listening)
    with pytest.raises(BadModel, match=why):
        listening.model(**given)


def test_gradients_of_the_large_model_are_its_own() -> None:
    listening = big()
    ensemble(small(), [sense_patch()]).attach(listening)
    logits = listening.model(IDS).logits
    logits.logsumexp(-1).sum().backward()
    weight = listening.model.get_parameter("transformer.h.1.mlp.c_proj.weight")
    assert weight.grad is not None
    assert weight.grad.abs().sum() > 0


def test_a_saved_patch_gives_equal_logits(patches: list[Patch], tmp_path: Path) -> None:
    made, one, other = ensemble(small(), patches), big(), big()
    save_patch(tmp_path / "one.safetensors", made, {"name": "big", "fingerprint": "f"})
    loaded = load_patch(tmp_path / "one.safetensors", fingerprint="f")
    assert isinstance(loaded, LogitsPatch)
    assert loaded.header() == made.header()
    assert [type(part) for part in loaded.patches] == [type(part) for part in made.patches]
    made.attach(one)
    loaded.attach(other)
    assert torch.equal(logits_of(one, IDS), logits_of(other, IDS))
    assert loaded.describe()["beta"] == 0.7


def test_the_small_model_is_loaded_by_its_name_and_told_by_its_fingerprint(tmp_path: Path) -> None:
    little = small()
    with torch.no_grad():
        little.model.get_parameter("transformer.trunk.wpe.weight").add_(0.01)  # no other test has this one in memory
    expected = by_hand(big(), little, [sense_patch()], 0.7, IDS)
    little.model.save_pretrained(tmp_path)
    little.tokenizer.save_pretrained(tmp_path)
    fingerprint = little.fingerprint()
    told = {"method": "ensemble", "config": {}, "edits": ["e1"], "ids": ["s1"]}
    listening = big()
    LogitsPatch([sense_patch()], {"name": str(tmp_path), "fingerprint": fingerprint}, 0.7, **told).attach(listening)
    torch.testing.assert_close(logits_of(listening, IDS), expected, atol=2e-5, rtol=1e-5)
    wrong = LogitsPatch([sense_patch()], {"name": str(tmp_path), "fingerprint": "0" * 64}, 0.7, **told)
    with pytest.raises(WrongModel, match=f"{fingerprint[:12]} now"):
        wrong.attach(big())
    with pytest.raises(BadModel, match="cannot be used: cannot load"):
        LogitsPatch([sense_patch()], {"name": str(tmp_path / "no"), "fingerprint": "0"}, 0.7, **told).attach(big())


def test_a_small_model_in_memory_is_copied_as_it_was() -> None:
    little, listening = small(), big()
    made = ensemble(little, [sense_patch()])
    expected = by_hand(big(), small(), [sense_patch()], 0.7, IDS)
    weight_patch().attach(little)
    with torch.no_grad():
        little.model.get_parameter("transformer.trunk.wpe.weight").zero_()
    made.attach(listening)
    torch.testing.assert_close(logits_of(listening, IDS), expected, atol=2e-5, rtol=1e-5)


def test_other_vocabularies_are_refused() -> None:
    odd = big()
    odd.tokenizer.add_tokens(["Atlantis"])
    made, before = ensemble(small(), [sense_patch()]), marks(odd)
    with pytest.raises(WrongModel, match="differ in their vocabularies, at 'Atlantis'"):
        made.attach(odd)
    assert marks(odd) == before
    with pytest.raises(WrongModel, match="causal"):
        made.attach(tiny_model("bert"))


def test_rows_of_the_head_that_are_no_token_are_left_alone(patches: list[Patch]) -> None:
    listening = big()
    listening.model.resize_token_embeddings(len(listening.tokenizer) + 6, mean_resizing=False)
    plain = logits_of(listening, IDS)
    ensemble(small(), patches).attach(listening)
    now = logits_of(listening, IDS)
    assert torch.equal(now[..., -6:], plain[..., -6:])
    change = by_hand(big(), small(), patches, 0.7, IDS) - logits_of(big(), IDS)
    torch.testing.assert_close(now[..., :-6], plain[..., :-6] + change, atol=2e-5, rtol=1e-5)


def test_edits_come_out_as_their_patches_do() -> None:
    made = ensemble(small(), [sense_patch("s1"), sense_patch("s2", words=(11,), seed=5)])
    one = made.without(["e1"])
    assert isinstance(one, LogitsPatch)
    assert (one.edits, one.ids, [patch.edits for patch in one.patches]) == (("e2",), ("s2",), [("s2",)])
    listening = big()
    one.attach(listening)
    expected = by_hand(big(), small(), [sense_patch("s2", words=(11,), seed=5)], 0.7, IDS)
    torch.testing.assert_close(logits_of(listening, IDS), expected, atol=2e-5, rtol=1e-5)
    assert made.without(["e1", "e2"]) is None
    together = weight_patch()
    together.edits = ("w1", "w2")
    with pytest.raises(Inseparable):
        ensemble(small(), [together]).without(["e1"])


@pytest.mark.parametrize("beta", [0.0, -1.0, 1.5, float("nan")])
def test_a_beta_out_of_range_is_refused(beta: float) -> None:
    with pytest.raises(BadPatch, match="above 0, at most 1"):
        ensemble(small(), [sense_patch()], beta)


def test_half_precision(patches: list[Patch]) -> None:
    listening = big()
    listening.model.to(torch.bfloat16)
    plain = logits_of(listening, IDS)
    ensemble(small(), patches).attach(listening)
    now = logits_of(listening, IDS)
    assert now.dtype == torch.bfloat16
    change = by_hand(big(), small(), patches, 0.7, IDS) - logits_of(big(), IDS)
    torch.testing.assert_close(now.float(), plain.float() + change, atol=0.06, rtol=0.02)


def test_words_of_the_patch_are_in_the_text() -> None:
    assert set(WORDS) & set(IDS.flatten().tolist())
