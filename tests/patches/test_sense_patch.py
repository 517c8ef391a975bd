"""Sense patches: what is added follows a word wherever it stands, adds up, and leaves no trace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from errata.errors import BadPatch, WrongModel
from errata.models import EditableModel
from errata.models.backpack.words import backpack_of
from errata.patches.base import Inseparable, in_force
from errata.patches.files import load_patch, save_patch
from errata.patches.original import patches_off
from errata.patches.senses import Additions, SensePatch, adding
from tiny import tiny_model

IDS = torch.tensor([[5, 9, 2, 9, 7, 30], [11, 4, 4, 8, 3, 2]])
PAIRS = torch.tensor([[9, 0], [9, 3], [4, 15]])


def made(pairs: Tensor = PAIRS, seed: int = 0, edits: tuple[str, ...] = ("a",), **more: Any) -> SensePatch:
    vectors = torch.randn(len(pairs), 32, generator=torch.Generator().manual_seed(seed))
    reads = more.pop("reads", [list(range(len(pairs)))] * len(edits))
    return SensePatch(pairs, vectors, 16, reads, method="sense", config={"lr": 0.1}, edits=edits, **more)


@pytest.fixture
def model() -> EditableModel:
    return tiny_model("backpack")


@torch.no_grad()
def senses(model: EditableModel) -> Tensor:
    return backpack_of(model).sense_vectors(IDS).clone()


@torch.no_grad()
def logits(model: EditableModel) -> Tensor:
    return model.model(IDS).logits.clone()


def test_the_chosen_senses_of_the_chosen_words_move_and_no_others(model: EditableModel) -> None:
    before, patch = senses(model), made()
    patch.attach(model)
    moved = senses(model) - before
    expected = torch.zeros_like(before)
    for (word, sense), vector in zip(PAIRS.tolist(), patch.vectors, strict=True):
        expected[..., sense, :][word == IDS] = vector
    torch.testing.assert_close(moved, expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(moved == 0, expected == 0)


def test_logits_before_an_edited_word_keep_their_bits(model: EditableModel) -> None:
    before = logits(model)
    made(torch.tensor([[9, 0], [8, 1]])).attach(model)
    after = logits(model)
    assert torch.equal(after[0, :1], before[0, :1])
    assert torch.equal(after[1, :3], before[1, :3])
    assert not torch.equal(after[0, 1], before[0, 1])
    assert not torch.equal(after[1, 3], before[1, 3])


def test_logits_move_by_what_reaches_them(model: EditableModel) -> None:
    network, patch = backpack_of(model), made()
    with torch.no_grad():
        out = network(IDS)
        patch.attach(model)
        reached = torch.zeros_like(out.last_hidden_state)
        for (word, sense), vector in zip(PAIRS.tolist(), patch.vectors, strict=True):
            share = (out.contextualization[:, sense] * (word == IDS)[:, None]).sum(-1)
            reached += share[..., None] * vector
        torch.testing.assert_close(logits(model), out.logits + network.lm_head(reached), atol=1e-4, rtol=1e-4)


def test_patches_add_up_in_their_order_and_come_off_in_any(model: EditableModel) -> None:
    one, two = made(seed=1), made(torch.tensor([[9, 3], [2, 2]]), seed=2, edits=("b",))
    start, hooks = logits(model), len(model.model.transformer.senses._forward_hooks)
    one.attach(model)
    first = logits(model)
    two.attach(model)
    both = logits(model)
    summed = Additions.of([one, two], 400, 16, "cpu")
    torch.testing.assert_close(summed.vectors[summed.place[9, 3]], one.vectors[1] + two.vectors[0])
    one.detach(model)
    other = tiny_model("backpack")
    made(torch.tensor([[9, 3], [2, 2]]), seed=2, edits=("b",)).attach(other)
    assert torch.equal(logits(model), logits(other))
    one.attach(model)
    assert torch.equal(logits(model), both)
    two.detach(model)
    assert torch.equal(logits(model), first)
    one.detach(model)
    assert torch.equal(logits(model), start)
    assert len(model.model.transformer.senses._forward_hooks) == hooks


def test_a_look_at_the_original(model: EditableModel) -> None:
    start, patch = logits(model), made()
    patch.attach(model)
    now = logits(model)
    with patches_off(model):
        assert torch.equal(logits(model), start)
    assert torch.equal(logits(model), now)


def test_a_table_of_senses_changes_nothing(model: EditableModel) -> None:
    model.model.requires_grad_(False)
    made().attach(model)
    plain = logits(model)
    backpack_of(model).cache_senses()
    assert model.model.transformer.senses.tabulated()
    torch.testing.assert_close(logits(model), plain, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(model: EditableModel, dtype: torch.dtype) -> None:
    exact = tiny_model("backpack")
    model.model.to(dtype)
    exact.model.load_state_dict(model.model.float().state_dict())
    model.model.to(dtype)
    start, bits = logits(model), model.fingerprint()
    for one in (model, exact):
        made().attach(one)
    after = senses(model)
    assert after.dtype == dtype
    torch.testing.assert_close(after.float(), senses(exact), atol=0.05, rtol=0.05)
    for patch in in_force(model):
        patch.detach(model)
    assert torch.equal(logits(model), start)
    assert model.fingerprint() == bits


@pytest.mark.parametrize("beams", [1, 3])
def test_generation_with_and_without_a_cache(model: EditableModel, beams: int) -> None:
    made().attach(model)
    options: dict[str, Any] = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None, "num_beams": beams}
    cached = model.model.generate(IDS, use_cache=True, **options)
    assert torch.equal(model.model.generate(IDS, use_cache=False, **options), cached)


def test_padding_on_the_left(model: EditableModel) -> None:
    made(torch.tensor([[int(word), 1] for word in IDS.unique()])).attach(model)
    alone = model.model(IDS[:1, 2:]).logits
    pad = torch.full((1, 2), model.pad_id)
    mask = torch.tensor([[0, 0, 1, 1, 1, 1]])
    places = (mask.cumsum(1) - 1).clamp(min=0)
    padded = model.model(torch.cat([pad, IDS[:1, 2:]], 1), attention_mask=mask, position_ids=places).logits
    torch.testing.assert_close(padded[:, 2:], alone, atol=1e-4, rtol=1e-4)


def test_gradients_reach_additions_that_are_tried(model: EditableModel) -> None:
    vectors = torch.zeros(3, 32, requires_grad=True)
    start = logits(model)
    with adding(backpack_of(model), Additions(PAIRS, vectors, 330, 16)):
        tried = model.model(IDS).logits
        tried.sum().backward()
    assert torch.equal(tried, start)
    assert vectors.grad is not None
    assert (vectors.grad != 0).any(1).all()
    assert torch.equal(logits(model), start)


def test_to_a_file_and_back(model: EditableModel, tmp_path: Path) -> None:
    patch = made(edits=("a", "b"), reads=[[0, 1], [1, 2]])
    base = {"name": "tiny", "fingerprint": "f"}
    digest = save_patch(tmp_path / "one.safetensors", patch, base)
    loaded = load_patch(tmp_path / "one.safetensors", expect_sha256=digest, fingerprint="f")
    assert isinstance(loaded, SensePatch)
    assert loaded.header() == patch.header()
    assert torch.equal(loaded.pairs, PAIRS)
    assert torch.equal(loaded.vectors, patch.vectors)
    other = tiny_model("backpack")
    patch.attach(model)
    loaded.attach(other)
    assert torch.equal(logits(other), logits(model))


def test_what_it_says_of_itself() -> None:
    told = made().describe()
    assert (told["kind"], told["senses"], told["words"]) == ("senses", 3, 2)
    assert told["bytes"] == 3 * 2 * 8 + 3 * 32 * 4


def test_edits_that_share_no_sense_come_apart() -> None:
    patch = made(edits=("a", "b", "c"), reads=[[0], [2], [1]])
    rest = patch.without(["a"])
    assert isinstance(rest, SensePatch)
    assert rest.edits == ("b", "c")
    assert torch.equal(rest.pairs, PAIRS[[1, 2]])
    assert torch.equal(rest.vectors, patch.vectors[[1, 2]])
    assert rest.reads == ((1,), (0,))
    assert patch.without(["a", "b", "c"]) is None


def test_edits_that_share_one_do_not() -> None:
    patch = made(edits=("a", "b", "c"), reads=[[0, 1], [1, 2], []])
    with pytest.raises(Inseparable, match="share"):
        patch.without(["a"])
    rest = patch.without(["a", "b"])
    assert isinstance(rest, SensePatch)
    assert len(rest.pairs) == 0
    assert patch.without(["c"]).edits == ("a", "b")  # type: ignore[union-attr]


def test_a_patch_of_nothing_is_carried(model: EditableModel) -> None:
    start = logits(model)
    SensePatch(PAIRS[:0], torch.empty(0, 32), 16, [[]], method="sense", config={}, edits=["a"]).attach(model)
    assert torch.equal(logits(model), start)


def test_other_models_are_refused(model: EditableModel) -> None:
    with pytest.raises(WrongModel, match="GPT2LMHeadModel"):
        made().attach(tiny_model("gpt2"))
    wide = SensePatch(PAIRS, torch.zeros(3, 64), 16, [[0]], method="sense", config={}, edits=["a"])
    few = SensePatch(PAIRS[:2], torch.zeros(2, 32), 4, [[0]], method="sense", config={}, edits=["a"])
    far = made(torch.tensor([[5000, 0]]))
    for patch, told in ((wide, "width 64"), (few, "4 senses"), (far, "word 5000")):
        with pytest.raises(WrongModel, match=told):
            patch.attach(model)
        assert not patch.attached
    assert not model.model.transformer.senses._forward_hooks


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"pairs": PAIRS.int()}, "int64"),
        ({"vectors": torch.zeros(3, 32).half()}, "float32"),
        ({"vectors": torch.zeros(2, 32)}, "shape|pairs"),
        ({"vectors": torch.full((3, 32), torch.nan)}, "NaN"),
        ({"pairs": torch.tensor([[9, 0], [9, 16], [4, 1]])}, "does not exist"),
        ({"pairs": torch.tensor([[9, 0], [9, 0], [4, 1]])}, "twice"),
    ],
)
def test_damaged_parts_are_refused(change: dict[str, Tensor], told: str) -> None:
    patch = made()
    with pytest.raises(BadPatch, match=told):
        SensePatch.from_parts(patch.header(), patch.tensors() | change)


@pytest.mark.parametrize("reads", [[], [[3]], [[0], [1]]])
def test_damaged_reads_are_refused(reads: list[list[int]]) -> None:
    patch = made()
    with pytest.raises(BadPatch, match="read"):
        SensePatch.from_parts(patch.header() | {"reads": reads}, patch.tensors())
