"""Residual patches: they speak where an input is known, add up over calls, come off, and refuse what does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from errata.errors import BadPatch, WrongModel
from errata.models import EditableModel
from errata.models.hooks import as_matrix, capture
from errata.patches.base import Inseparable, in_force
from errata.patches.files import load_patch, save_patch
from errata.patches.memories import Distances, Fingerprints, Rule, ties
from errata.patches.original import patches_off
from errata.patches.residual import ResidualPatch
from errata.patches.shares import Share
from tiny import INNER, WIDTH, tiny_model

LAYER, KEPT = 2, 14
PROMPTS = ["The capital of France is", "Who wrote the book?"]


@pytest.fixture
def model() -> EditableModel:
    return tiny_model("gpt2")


@torch.no_grad()
def read(model: EditableModel, prompts: list[str] = PROMPTS) -> Tensor:
    """(B, T, d_in): what the down-projection reads, patches off."""
    with patches_off(model), capture(model.model, [model.arch.matrix(LAYER, "mlp_down")], what="input") as seen:
        model.forward(model.encode(prompts))
    return seen[model.arch.matrix(LAYER, "mlp_down")][0]


@torch.no_grad()
def wrote(model: EditableModel, prompts: list[str] = PROMPTS) -> Tensor:
    """(B, T, d_out): what comes out of it."""
    with capture(model.model, [model.arch.matrix(LAYER, "mlp_down")]) as seen:
        model.forward(model.encode(prompts))
    return seen[model.arch.matrix(LAYER, "mlp_down")][0]


def logits(model: EditableModel) -> Tensor:
    with torch.no_grad():
        return model.forward(model.encode(PROMPTS)).clone()


def random(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def fingerprints(threshold: float = 0.9) -> Fingerprints:
    return Fingerprints(KEPT, threshold, 0, torch.zeros(INNER))


def masked(rule: Fingerprints, inputs: Tensor, edits: tuple[str, ...] = ("a",), seed: int = 0) -> Share:
    masks = rule.masks(inputs)
    numbers = torch.arange(len(inputs), dtype=torch.int32)
    return Share.of(edits, random(len(inputs), WIDTH, seed=seed), inputs * masks, masks=masks, mask=numbers)


def sharded(
    inputs: Tensor, edits: tuple[str, ...] = ("a",), shard: int = 0, nearest: float = 1.0, seed: int = 0
) -> Share:
    return Share.of(edits, random(len(inputs), WIDTH, seed=seed), inputs, shard=shard, nearest=nearest)


def patch(shares: list[Share], rule: Rule, **more: Any) -> ResidualPatch:
    return ResidualPatch(LAYER, (WIDTH, INNER), shares, rule, method="memoir", config={"lr": 1.0}, **more)


def known(model: EditableModel, threshold: float = 0.9) -> ResidualPatch:
    """Knows the last token of the first prompt."""
    rule = fingerprints(threshold)
    return patch([masked(rule, read(model)[0, -1:], ("a", "b"))], rule)


def test_it_speaks_where_an_input_is_known_and_nowhere_else(model: EditableModel) -> None:
    before, inputs, one = wrote(model), read(model), known(model)
    one.attach(model)
    moved = wrote(model) - before
    expected = (one.rule.masks(inputs[0, -1:]) * inputs[0, -1:]) @ one.shares[0].change(INNER, torch.device("cpu")).T  # type: ignore[attr-defined]
    torch.testing.assert_close(moved[0, -1:], expected, atol=1e-5, rtol=1e-4)
    moved[0, -1] = 0
    assert not moved.any()


def test_it_comes_off_bit_for_bit_and_leaves_no_hook(model: EditableModel) -> None:
    start, module = logits(model), model.model.get_submodule(model.arch.matrix(LAYER, "mlp_down"))
    one, two = known(model), patch([sharded(read(model)[1, 2:4], ("c",), nearest=1e-3)], routing())
    one.attach(model)
    first = logits(model)
    two.attach(model)
    both = logits(model)
    assert not torch.equal(first, start)
    assert not torch.equal(both, first)
    with patches_off(model):
        assert torch.equal(logits(model), start)
    assert torch.equal(logits(model), both)
    one.detach(model)
    one.attach(model)
    assert torch.equal(logits(model), both)
    two.detach(model)
    assert torch.equal(logits(model), first)
    one.detach(model)
    assert torch.equal(logits(model), start)
    assert not in_force(model)
    assert not module._forward_hooks


def routing(threshold: float = 0.5, share: float = 1.0, **more: Any) -> Distances:
    return Distances(threshold, share, 0, **{"merge": 2, "density": 0.53, **more})


def test_a_token_is_read_through_the_nearest_mask(model: EditableModel) -> None:
    inputs = read(model)[0]
    rule = fingerprints(threshold=0.3)
    one = patch([masked(rule, inputs[-1:]), masked(rule, inputs[1:2], ("b",), seed=1)], rule)
    near = rule.masks(inputs[-1:])[0]
    like = inputs[-1] + 0.3 * random(INNER)
    assert not torch.equal(rule.masks(like[None])[0], near)
    matrix = sum(share.change(INNER, torch.device("cpu")) for share in one.shares)
    said = one.memory(torch.device("cpu")).say(torch.stack([like, 0 * like]))
    assert said is not None
    assert 0 in said.tokens
    torch.testing.assert_close(said.added[0], (like * near) @ matrix.T, atol=1e-5, rtol=1e-4)


def test_masks_go_through_a_permutation_and_leave_the_background_out() -> None:
    inputs = random(3, INNER)
    plain, other = fingerprints().masks(inputs), Fingerprints(KEPT, 0.9, 1, torch.zeros(INNER)).masks(inputs)
    assert (plain.sum(1) == KEPT).all()
    assert not torch.equal(plain, other)
    shared = (plain[0] & plain[1]).sum()
    assert shared == (other[0] & other[1]).sum()  # what two inputs share does not depend on it
    strongest = inputs.abs().topk(KEPT, 1).indices
    assert not torch.equal(plain, torch.zeros_like(plain).scatter_(1, strongest, True))
    centred = Fingerprints(KEPT, 0.9, 0, inputs[0]).masks(inputs + 0)
    assert torch.equal(centred, Fingerprints(KEPT, 0.9, 0, torch.zeros(INNER)).masks(inputs - inputs[0]))


def test_of_several_matrices_the_one_that_makes_most_of_an_input_speaks() -> None:
    inputs = random(1, INNER)
    rule = routing(share=0.5, merge=1)
    weak, strong = sharded(inputs, ("a",), 0, 0.1), sharded(3 * inputs, ("b",), 1, 0.1, seed=1)
    one = patch([weak, strong], rule)
    said = one.memory(torch.device("cpu")).say(inputs)
    assert said is not None
    cpu = torch.device("cpu")
    wanted = [share.change(INNER, cpu) * rule.entries(share.shard, WIDTH, INNER) for share in one.shares]
    spoken = [inputs @ change.T for change in wanted]
    assert torch.equal(said.added, max(spoken, key=lambda added: float(added.norm())))


def test_an_input_of_which_little_is_made_passes() -> None:
    inputs = random(1, INNER)
    share = sharded(inputs)
    far = float((inputs @ share.change(INNER, torch.device("cpu")).T).norm())
    for threshold, speaks in ((0.99, True), (1.01, False)):
        one = patch([sharded(inputs, nearest=far)], routing(threshold))
        assert (one.memory(torch.device("cpu")).say(inputs) is not None) == speaks


def test_shards_become_one_matrix_when_a_later_one_has_begun() -> None:
    cpu, rule = torch.device("cpu"), routing(share=0.3)
    shares = [sharded(random(3, INNER, seed=n), (str(n),), n, 1.0 + n, seed=n) for n in range(3)]
    two, three = patch(shares[:2], rule).memory(cpu), patch(shares, rule).memory(cpu)
    sums = [share.change(INNER, cpu) * rule.entries(share.shard, WIDTH, INNER) for share in shares]
    assert [least for _, least in two.matrices()] == [1.0, 2.0]
    (merged, least), (last, _) = three.matrices()
    assert least == 1.0
    assert torch.equal(merged, ties(sums[:2], 0.53))
    assert torch.equal(last, sums[2])


def test_ties_keeps_the_large_and_the_agreeing() -> None:
    one, two = torch.tensor([[4.0, 1.0, -3.0, 0.0]]), torch.tensor([[2.0, 5.0, 1.0, 0.1]])
    # Of each the two largest stay: [4, -3] and [2, 5]; the third has one voice left.
    assert torch.equal(ties([one, two], 0.5), torch.tensor([[3.0, 5.0, -3.0, 0.0]]))
    assert torch.equal(ties([one, -one], 1.0), torch.zeros(1, 4))


def test_a_share_is_kept_as_factors_or_in_full_whichever_is_smaller(model: EditableModel) -> None:
    rule, cpu = fingerprints(), torch.device("cpu")
    for count in (2, 60):
        inputs = random(count, INNER)
        share = masked(rule, inputs)
        assert (share.written is None) == (count == 60)
        exact = random(count, WIDTH).T @ (inputs * rule.masks(inputs))
        torch.testing.assert_close(share.change(INNER, cpu), exact, atol=1e-5, rtol=1e-4)
        assert patch([share], rule).size < max(exact.nbytes, 1) + 2000
    idle = Share.of(("a",), torch.zeros(5, WIDTH), random(5, INNER))
    assert idle.read.shape == (0, INNER)


def parts(model: EditableModel) -> list[ResidualPatch]:
    rule, inputs = fingerprints(0.5), read(model)[0]
    return [patch([masked(rule, inputs[at : at + 1], (name,), seed=at)], rule) for at, name in enumerate("abc")]


def test_calls_add_up_and_come_apart(model: EditableModel) -> None:
    one, two, three = parts(model)
    whole = ResidualPatch.joined([one, two, three])
    grown = ResidualPatch.extended(ResidualPatch.extended(one, two), three)
    one.memory(torch.device("cpu"))
    warm = ResidualPatch.extended(ResidualPatch.extended(one, two), three)
    rest = whole.without(["b"])
    assert isinstance(rest, ResidualPatch)
    cpu = torch.device("cpu")
    for other in (grown, warm):
        assert torch.equal(other.memory(cpu).matrix, whole.memory(cpu).matrix)  # type: ignore[attr-defined]
        assert other.edits == whole.edits == ("a", "b", "c")
    assert torch.equal(rest.memory(cpu).matrix, ResidualPatch.joined([one, three]).memory(cpu).matrix)  # type: ignore[attr-defined]
    assert whole.without(["a", "b", "c"]) is None


def test_the_edits_of_a_call_do_not_come_apart(model: EditableModel) -> None:
    with pytest.raises(Inseparable, match="trained together"):
        known(model).without(["a"])


def test_an_increment_leaves_the_background_to_the_patch_before(model: EditableModel) -> None:
    one, two, _ = parts(model)
    whole = ResidualPatch.extended(one, two)
    added = whole.increment(one)
    assert added.edits == ("b",)
    assert added.partial
    assert not one.partial
    assert "rule.centre" not in added.tensors()
    loaded = ResidualPatch.from_parts(added.header(), added.tensors())
    again = ResidualPatch.extended(one.shell(), loaded)
    assert not again.partial
    assert again.slot == whole.slot
    assert torch.equal(again.memory(torch.device("cpu")).masks, two.memory(torch.device("cpu")).masks)  # type: ignore[attr-defined]


def test_other_memories_are_not_joined(model: EditableModel) -> None:
    one = known(model)
    with pytest.raises(BadPatch, match="stack"):
        ResidualPatch.joined([one, patch([sharded(random(1, INNER))], routing())])
    with pytest.raises(BadPatch, match="stack"):
        ResidualPatch.extended(one, known(model, threshold=0.5))


@pytest.mark.parametrize("count", [2, 60])
@pytest.mark.parametrize("kind", ["fingerprints", "distances"])
def test_to_a_file_and_back(model: EditableModel, tmp_path: Path, kind: str, count: int) -> None:
    inputs, rule = random(count, INNER), fingerprints()
    one = patch([masked(rule, inputs)], rule) if kind == "fingerprints" else patch([sharded(inputs)], routing())
    base = {"name": "tiny", "fingerprint": "f"}
    digest = save_patch(tmp_path / "one.safetensors", one, base)
    loaded = load_patch(tmp_path / "one.safetensors", expect_sha256=digest, fingerprint="f")
    assert isinstance(loaded, ResidualPatch)
    assert loaded.header() == one.header()
    assert loaded.slot == one.slot
    cpu = torch.device("cpu")
    first, second = loaded.memory(cpu).say(inputs), one.memory(cpu).say(inputs)
    assert first is not None
    assert second is not None
    assert torch.equal(first.added, second.added)


def test_other_models_are_refused(model: EditableModel) -> None:
    one = known(model)
    with pytest.raises(WrongModel, match="that of block 2"):
        one.attach(tiny_model("gpt2", inner=64))
    one.layer = 9
    with pytest.raises(WrongModel, match="does not exist"):
        one.attach(model)
    assert not one.attached


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"0.read": torch.zeros(2, 5)}, "fit"),
        ({"0.read": torch.zeros(2, KEPT).half()}, "tensors"),
        ({"0.written": torch.zeros(2, 7)}, "fit"),
        ({"0.written": torch.zeros(3, WIDTH)}, "as many"),
        ({"0.written": torch.full((2, WIDTH), torch.nan)}, "NaN"),
        ({"0.masks": torch.zeros(2, INNER // 8, dtype=torch.uint8)}, "fit"),
        ({"0.mask": torch.tensor([0, 7], dtype=torch.int32)}, "masks"),
    ],
)
def test_damaged_parts_are_refused(change: dict[str, Tensor], told: str) -> None:
    rule = fingerprints()
    one = patch([masked(rule, random(2, INNER))], rule)
    with pytest.raises(BadPatch, match=told):
        ResidualPatch.from_parts(one.header(), one.tensors() | change)


def test_an_unknown_rule_is_refused() -> None:
    one = patch([], fingerprints())
    with pytest.raises(BadPatch, match="update errata"):
        ResidualPatch.from_parts(one.header() | {"rule": {"form": "other"}}, one.tensors())


@pytest.mark.parametrize("beams", [1, 2])
def test_generation_with_and_without_a_cache(model: EditableModel, beams: int) -> None:
    rule = routing(threshold=0.01)
    patch([sharded(random(4, INNER), nearest=1.0)], rule).attach(model)
    ids = model.encode(PROMPTS[:1]).input_ids
    options: dict[str, Any] = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None, "num_beams": beams}
    cached = model.model.generate(ids, use_cache=True, **options)
    assert torch.equal(model.model.generate(ids, use_cache=False, **options), cached)


def test_gradients_pass_through_it(model: EditableModel) -> None:
    patch([sharded(random(4, INNER))], routing(threshold=0.01)).attach(model)
    weight = as_matrix(model.model.get_submodule(model.arch.matrix(LAYER, "mlp_up")))
    leaf = model.model.get_submodule(model.arch.matrix(LAYER, "mlp_up")).weight
    leaf.requires_grad_(True)
    model.forward(model.encode(PROMPTS)).square().sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.isfinite().all()
    assert weight is not None
