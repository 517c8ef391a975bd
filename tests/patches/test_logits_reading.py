"""The same text read in every way there is to read it, by a big model that listens to a small one."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache

from ensembles import IDS, KINDS, TEXT, big, by_hand, ensemble, logits_of, sense_patch, small, weight_patch
from errata.errors import BadModel
from errata.models import EditableModel
from errata.patches.base import Patch
from errata.serve.engine.rows import JoiningRows, begin

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
