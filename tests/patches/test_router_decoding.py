"""Routers while an encoder-decoder writes: greedy, sampled, cached or not, all say the same; beams do not."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import Tensor

from contract.marks import logits
from errata.errors import BadModel
from errata.models import EditableModel
from errata.models.encoding import end_id
from errata.models.hooks import hidden_of
from patches.routers import OTHER, PROMPT, THIRD, attached, beside, ids, router
from tiny_bart import tiny_bart


def generate(model: EditableModel, **options: Any) -> Tensor:
    """The model's own `generate`."""
    return cast(Any, model.model).generate(**options)


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


@pytest.mark.parametrize("side", ["left", "right"])
def test_it_is_told_who_answered(side: str):
    model, patch = attached("t5")
    batch = model.encode([OTHER, PROMPT], padding_side=side)  # type: ignore[arg-type]
    with patch.record() as firings:
        generate(model, **ids(batch), max_new_tokens=3)
    assert [(one.row, one.position, one.edit) for one in firings] == [(1, int(batch.query[1]), "a")]
    assert firings[0].distance <= firings[0].radius


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
