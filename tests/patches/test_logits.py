"""Logits patches: the ensemble's equation by hand, what a file keeps of them, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from contract.marks import marks
from ensembles import IDS, KINDS, WORDS, big, by_hand, ensemble, logits_of, sense_patch, small, told, weight_patch
from errata.errors import BadModel, BadPatch, WrongModel
from errata.patches import chains
from errata.patches.base import Inseparable, Patch
from errata.patches.files import load_patch, save_patch
from errata.patches.logits import LogitsPatch
from errata.patches.senses import SensePatch
from tiny import tiny_model


@pytest.fixture(params=KINDS)
def patches(request: pytest.FixtureRequest) -> list[Patch]:
    return KINDS[request.param]()


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


def test_beyond_what_the_small_model_can_read_it_says_nothing(patches: list[Patch]) -> None:
    little, listening, ids = small(), big(), torch.tensor([[9] * 20])
    little.context = 12
    ensemble(little, patches).attach(listening)
    now, plain = logits_of(listening, ids), logits_of(big(), ids)
    torch.testing.assert_close(now[:, :12], by_hand(big(), small(), patches, 0.7, ids)[:, :12], atol=2e-5, rtol=1e-5)
    assert torch.equal(now[:, 12:], plain[:, 12:])


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


def test_edits_of_senses_need_no_second_network_and_must_fit_the_small_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chains, "twin", lambda *_: pytest.fail("a network was copied"))
    listening = big()
    ensemble(small(), [sense_patch()]).attach(listening)
    expected = by_hand(big(), small(), [sense_patch()], 0.7, IDS)
    torch.testing.assert_close(logits_of(listening, IDS), expected, atol=2e-5, rtol=1e-5)
    patch = sense_patch()
    wide = SensePatch(patch.pairs, torch.ones(len(patch.pairs), 33), 16, patch.reads, **told("s1"))
    with pytest.raises(WrongModel, match="16 senses of width 33"):
        ensemble(small(), [wide]).attach(big())


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
