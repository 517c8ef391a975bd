"""Second moments against sums taken text by text: padding, limits, patches, interruption and the cache."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from errata.errors import BadConfig, BadModel
from errata.models import EditableModel
from errata.models.hooks import capture
from errata.patches.codebook import CodebookPatch, Entry
from errata.patches.weights import LowRank, WeightPatch
from errata.statistics import Corpus, SecondMoment, collecting, is_cached, kept, original_fingerprint, second_moments
from tiny import INNER, tiny_model

TEXTS = (
    "The capital of France is Paris and the capital of Italy is Rome.",
    "Who wrote the book?",
    "Berlin is the capital of Germany; Madrid, London and Vienna are cities too.",
    "French",
)


def corpus(texts: Iterable[str] = TEXTS, digest: str = "d") -> Corpus:
    return Corpus(tuple(texts), digest, "test")


def keys_of(model: EditableModel, layer: int, text: str, role: str = "mlp_down") -> Tensor:
    """(T, d), of one text that is read alone by the whole model."""
    path = model.arch.matrix(layer, role)
    batch = model.encode([text])
    with torch.no_grad(), model.evaluating(), capture(model.model, [path], what="input") as seen:
        model.forward(batch)
    return seen[path][0][0].double()


def by_hand(model: EditableModel, layer: int, texts: Iterable[str] = TEXTS, role: str = "mlp_down") -> Tensor:
    keys = torch.cat([keys_of(model, layer, text, role) for text in texts])
    return keys.T @ keys / len(keys)


def bits(model: EditableModel) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.model.state_dict().items()}


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("arch", ["gpt2", "llama", "gpt_neox", "bert", "t5"])
def test_it_is_the_mean_over_real_tokens(arch: str) -> None:
    model = tiny_model(arch)
    before = bits(model)
    found = second_moments(model, [2, 0], corpus())
    assert list(found) == [2, 0]
    count = sum(len(keys_of(model, 0, text)) for text in TEXTS)
    for layer, moment in found.items():
        assert torch.allclose(moment.matrix, by_hand(model, layer), rtol=1e-4, atol=1e-6)
        assert torch.equal(moment.matrix, moment.matrix.T)
        assert (moment.tokens, moment.size, moment.matrix.dtype) == (count, INNER, torch.float64)
        assert moment.name == f"block {layer}"
    assert same(bits(model), before)
    assert not any(module._forward_hooks for module in model.model.modules())


def test_the_start_token_counts_like_any_other() -> None:
    model = tiny_model("llama", bos=True)
    found = second_moments(model, [1], corpus(["French"]))[1]
    assert found.tokens == len(model.encode(["French"]).input_ids[0])
    assert torch.allclose(found.matrix, by_hand(model, 1, ["French"]), rtol=1e-4, atol=1e-6)


def test_another_role_is_what_that_matrix_reads() -> None:
    model = tiny_model("llama")
    found = second_moments(model, [1], corpus(), role="attn_out")[1]
    assert torch.allclose(found.matrix, by_hand(model, 1, role="attn_out"), rtol=1e-4, atol=1e-6)


def test_it_stops_at_the_token() -> None:
    model = tiny_model("gpt2")
    found = second_moments(model, [1], corpus(TEXTS[:1]), tokens=5)[1]
    keys = keys_of(model, 1, TEXTS[0])[:5]
    assert found.tokens == 5
    assert torch.allclose(found.matrix, keys.T @ keys / 5, rtol=1e-4, atol=1e-6)
    assert found.rank == 5
    assert "span 5 of 48 directions (5 tokens)" in str(found.warning)


def test_a_text_longer_than_the_context_is_cut() -> None:
    model = tiny_model("gpt2")
    text = " ".join(TEXTS) * 3
    count = len(model.tokenizer(text)["input_ids"])  # type: ignore[arg-type]
    assert count > 64
    assert second_moments(model, [0], corpus([text]))[0].tokens == count


def test_enough_text_spans_every_direction() -> None:
    found = second_moments(tiny_model("gpt2"), [1], corpus())[1]
    assert found.rank == INNER
    assert found.warning is None
    assert torch.allclose(found.spectrum, torch.linalg.eigvalsh(found.matrix), atol=1e-9)


def patches(model: EditableModel) -> list[WeightPatch | CodebookPatch]:
    path = model.arch.matrix(0, "mlp_down") + ".weight"
    # No constant shift: the norm of the next block would take it away.
    slope = torch.linspace(-3, 3, 32)
    change = LowRank(slope[:, None], torch.ones(1, 48))
    weights = WeightPatch({path: change}, method="m", config={}, edits=["w"])
    state = model.prefix(model.encode([TEXTS[0]]), 0).hidden[0, 4]
    entry = Entry("c", state, state + slope, (5, 1), 0.5, TEXTS[0])
    return [CodebookPatch(0, [entry], method="grace", config={}, edits=["c"]), weights]


def test_it_is_of_the_model_without_its_patches() -> None:
    model = tiny_model("gpt2")
    fingerprint = model.fingerprint()
    wanted = by_hand(model, 1)
    states = [wanted]
    for patch in patches(model):
        patch.attach(model)
        states.append(by_hand(model, 1))
        assert not torch.allclose(states[-1], states[-2], rtol=1e-2)
    edited = bits(model)
    found = second_moments(model, [1], corpus())[1]
    assert torch.allclose(found.matrix, wanted, rtol=1e-4, atol=1e-6)
    assert same(bits(model), edited)
    assert original_fingerprint(model) == fingerprint != model.fingerprint()


def test_a_model_that_was_trained_further_has_statistics_of_its_own() -> None:
    model = tiny_model("gpt2")
    first = second_moments(model, [1], corpus())[1]
    with torch.no_grad():
        for weight in model.model.parameters():
            weight.mul_(1.1)
    assert original_fingerprint(model) == model.fingerprint()
    second = second_moments(model, [1], corpus())[1]
    assert second.key != first.key
    assert torch.allclose(second.matrix, by_hand(model, 1), rtol=1e-4, atol=1e-6)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Tokens that were run through the model, batch by batch."""
    seen: list[int] = []
    original = collecting._add

    def add(model: EditableModel, paths: Mapping[int, str], batch, tokens, found) -> None:  # type: ignore[no-untyped-def]
        seen.append(int(batch.attention_mask.sum()))
        original(model, paths, batch, tokens, found)

    monkeypatch.setattr(collecting, "_add", add)
    return seen


def test_what_is_cached_is_not_computed_again(passes: list[int]) -> None:
    model = tiny_model("gpt2")
    assert not is_cached(model, 1, corpus())
    first = second_moments(model, [1], corpus())[1]
    assert is_cached(model, -3, corpus())
    assert len(passes) == 1
    for _ in range(2):
        again = second_moments(model, [1], corpus())[1]
        assert torch.equal(again.matrix, first.matrix)
        assert (again.tokens, again.key, again.rank) == (first.tokens, first.key, first.rank)
        kept.forget()
    assert len(passes) == 1
    second_moments(model, [1, 2], corpus())
    assert len(passes) == 2
    for other in ({"corpus": corpus(digest="other")}, {"tokens": 9}, {"role": "attn_out"}):
        second_moments(model, [1], **{"corpus": corpus(), **other})
    assert len(passes) == 5


def test_a_damaged_file_is_computed_again(passes: list[int], cached_at: Path) -> None:
    model = tiny_model("gpt2")
    first = second_moments(model, [1], corpus())[1]
    (file,) = cached_at.glob("moments/*/tensors.safetensors")
    file.write_bytes(file.read_bytes()[:-100])
    kept.forget()
    assert torch.equal(second_moments(model, [1], corpus())[1].matrix, first.matrix)
    assert len(passes) == 2
    kept.forget()
    second_moments(model, [1], corpus())
    assert len(passes) == 2


def test_an_interrupted_run_goes_on_where_it_was(
    passes: list[int], monkeypatch: pytest.MonkeyPatch, cached_at: Path
) -> None:
    monkeypatch.setattr(collecting, "BUDGET", 30)
    monkeypatch.setattr(collecting, "SAVE_EVERY", 0)
    monkeypatch.setattr(collecting, "SAVE_SHARE", 1e9)
    model = tiny_model("gpt2")
    whole = second_moments(model, [0, 2], corpus())
    assert len(passes) == 3
    kept.forget()
    monkeypatch.setenv("ERRATA_CACHE", str(cached_at / "elsewhere"))
    steps = itertools.count()
    save = collecting._save

    def stop_after_two(*arguments: object) -> None:
        save(*arguments)  # type: ignore[arg-type]
        if next(steps) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(collecting, "_save", stop_after_two)
    with pytest.raises(KeyboardInterrupt):
        second_moments(model, [0, 2], corpus())
    assert len(passes) == 5
    again = second_moments(model, [0, 2], corpus())
    assert len(passes) == 6  # the one that was left
    assert all(torch.equal(again[layer].matrix, whole[layer].matrix) for layer in whole)
    assert not list((cached_at / "elsewhere" / "partial").iterdir())


def test_what_cannot_be_is_refused() -> None:
    model = tiny_model("gpt2")
    with pytest.raises(BadConfig, match=r"'mlp_don'.*mean 'mlp_down'"):
        second_moments(model, [0], corpus(), role="mlp_don")
    with pytest.raises(BadConfig, match="0 tokens"):
        second_moments(model, [0], corpus(), tokens=0)
    with pytest.raises(BadConfig, match="layer 7"):
        second_moments(model, [7], corpus())
    with pytest.raises(BadConfig, match="encoder block, 0 to 2"):
        second_moments(tiny_model("t5"), [4], corpus())
    with torch.no_grad():
        model.model.get_parameter(model.arch.matrix(0, "mlp_up") + ".weight").fill_(float("inf"))
    with pytest.raises(BadModel, match="block 0 are not finite"):
        second_moments(model, [0], corpus())


def test_a_given_matrix_is_checked_and_known_by_its_content() -> None:
    matrix = torch.tensor([[2.0, 1.0], [1.0, 2.0]])
    found = SecondMoment.of(matrix, 9)
    assert found.spectrum.tolist() == pytest.approx([1, 3])
    assert found.key == SecondMoment.of(matrix.double(), 4).key != SecondMoment.of(2 * matrix, 9).key
    for bad in (torch.ones(2, 3), torch.tensor([[1.0, 2.0], [0.0, 1.0]]), matrix * float("inf")):
        with pytest.raises(BadConfig, match="square, symmetric"):
            SecondMoment.of(bad, 1)
