"""Weight patches: exact stacks, exact undo, in every order, form, dtype and orientation."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from errata.errors import BadModel, BadPatch, WrongModel
from errata.models import EditableModel
from errata.patches import weights
from errata.patches.base import Inseparable
from errata.patches.deltas import Delta, Dense, LowRank, Rows
from errata.patches.weights import WeightPatch, attached_patches, parameter_view
from tiny import tiny_model

DOWN = {"gpt2": "transformer.h.1.mlp.c_proj.weight", "llama": "model.layers.1.mlp.down_proj.weight"}
LINEAR = DOWN["llama"]


def patch_of(deltas: Mapping[str, Delta], *ids: str, order: int | None = None) -> WeightPatch:
    return WeightPatch(deltas, method="ft", config={"lr": 0.1}, edits=ids or ("a",), order=order)


def random_patch(model: EditableModel, name: str, seed: int, order: int | None = None) -> WeightPatch:
    generator = torch.Generator().manual_seed(seed)
    rows, columns = parameter_view(model.model, name).shape
    factors = LowRank(
        torch.randn(rows, 2, generator=generator), torch.randn(2, columns, generator=generator) / 10
    )
    return patch_of({name: factors}, f"e{seed}", order=order)


def bits(model: EditableModel) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.model.state_dict().items()}


def equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("arch", ["gpt2", "llama"])
def test_matrices_are_d_out_by_d_in_whichever_way_they_are_stored(arch: str) -> None:
    model = tiny_model(arch)
    module = model.model.get_submodule(DOWN[arch].removesuffix(".weight"))
    state = torch.randn(3, parameter_view(model.model, DOWN[arch]).shape[1])
    b, a = torch.randn(model.width, 1), torch.randn(1, state.shape[1])
    before = module(state)
    patch_of({DOWN[arch]: LowRank(b, a)}).attach(model)
    torch.testing.assert_close(module(state), before + state @ a.T @ b.T, atol=1e-4, rtol=1e-4)


def test_a_patch_writes_in_place_and_leaves_no_trace() -> None:
    model = tiny_model("llama")
    before, parameter = bits(model), model.model.get_parameter(LINEAR)
    optimiser = torch.optim.SGD([parameter], lr=1.0)
    patch = random_patch(model, LINEAR, 0)
    patch.attach(model)
    patch.attach(model)
    assert patch.attached
    assert patch.attached_to(model)
    assert model.model.get_parameter(LINEAR) is parameter
    assert not torch.equal(parameter, before[LINEAR])
    parameter.grad = torch.ones_like(parameter)
    held = parameter.detach().clone()
    optimiser.step()
    assert torch.equal(model.model.get_parameter(LINEAR), held - 1)
    patch.detach(model)
    patch.detach(model)
    assert not patch.attached
    assert equal(bits(model), before)


@pytest.mark.parametrize("many", [0, weights._MANY])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("arch", ["gpt2", "llama"])
def test_any_history_gives_the_bits_of_the_fold_over_what_remains(
    arch: str, dtype: torch.dtype, many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "_MANY", many)
    name = DOWN[arch]
    model = tiny_model(arch)
    model.model.to(dtype)  # type: ignore[arg-type]
    original, before = parameter_view(model.model, name).clone(), bits(model)
    patches = [random_patch(model, name, seed, order=seed) for seed in range(4)]

    def expected(kept: list[int]) -> Tensor:
        total = original.float().clone()
        for number in kept:
            patches[number].deltas[name].add_to(total)
        return total.to(dtype)

    def check(kept: list[int]) -> None:
        assert torch.equal(parameter_view(model.model, name), expected(kept))

    for number in (0, 1, 3):
        patches[number].attach(model)
    check([0, 1, 3])
    patches[1].detach(model)
    check([0, 3])
    patches[2].attach(model)  # into the middle
    check([0, 2, 3])
    patches[1].attach(model)  # back in its old place
    check([0, 1, 2, 3])
    assert attached_patches(model) == patches
    patches[0].detach(model)
    patches[3].detach(model)
    check([1, 2])
    patches[3].attach(model)  # on top again
    check([1, 2, 3])
    patches[3].detach(model)
    check([1, 2])
    patches[2].detach(model)  # under what was on top
    patches[3].attach(model)
    patches[2].attach(model)
    check([1, 2, 3])
    for number in (2, 1, 3):
        patches[number].detach(model)
    assert equal(bits(model), before)
    assert attached_patches(model) == []


def test_appending_does_not_fold_again(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")
    model.model.bfloat16()
    added: list[int] = []
    plain = LowRank.add_to
    monkeypatch.setattr(LowRank, "add_to", lambda self, total: (added.append(1), plain(self, total))[1])
    for seed in range(5):
        random_patch(model, LINEAR, seed).attach(model)
    assert len(added) == 5


def test_one_on_top_of_many_is_taken_off_without_folding(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")
    for seed in range(weights._MANY):
        random_patch(model, LINEAR, seed).attach(model)
    before = bits(model)
    last = random_patch(model, LINEAR, 99)
    last.attach(model)
    monkeypatch.setattr(LowRank, "add_to", lambda self, total: pytest.fail("folded"))
    last.detach(model)
    assert equal(bits(model), before)


def test_without_an_order_patches_stack_as_they_come() -> None:
    model = tiny_model("llama")
    first, second = random_patch(model, LINEAR, 0), random_patch(model, LINEAR, 1)
    second.attach(model)
    first.attach(model)
    assert second.order is not None
    assert first.order is not None
    assert second.order < first.order
    assert attached_patches(model) == [second, first]


def test_other_parameters_keep_their_own_shape() -> None:
    model = tiny_model("gpt2")
    before = bits(model)
    norm, table = "transformer.ln_f.weight", "transformer.wpe.weight"
    change = Rows(torch.tensor([5, 2]), torch.stack([torch.ones(model.width), -torch.ones(model.width)]))
    patch = patch_of({norm: Dense(torch.full((model.width,), 0.5)), table: change})
    patch.attach(model)
    after = bits(model)
    assert torch.equal(after[norm], before[norm] + 0.5)
    assert torch.equal(after[table][5], before[table][5] + 1)
    assert torch.equal(after[table][2], before[table][2] - 1)
    assert torch.equal(after[table][3], before[table][3])
    patch.detach(model)
    assert equal(bits(model), before)


def test_a_parameter_with_two_names_is_changed_once() -> None:
    model = tiny_model("gpt2")
    assert model.model.get_parameter("lm_head.weight") is model.model.get_parameter("transformer.wte.weight")
    before = bits(model)
    row = Rows(torch.tensor([3]), torch.ones(1, model.width))
    both = patch_of({"lm_head.weight": row, "transformer.wte.weight": row})
    both.attach(model)
    assert torch.equal(model.model.get_parameter("lm_head.weight")[3], before["lm_head.weight"][3] + 1)
    other = patch_of({"lm_head.weight": row}, "b")
    other.attach(model)
    assert torch.equal(model.model.get_parameter("lm_head.weight")[3], before["lm_head.weight"][3] + 1 + 1)
    both.detach(model)
    other.detach(model)
    assert equal(bits(model), before)
    unequal = patch_of({"lm_head.weight": row, "transformer.wte.weight": Rows(torch.tensor([4]), row.values)})
    with pytest.raises(BadPatch, match="shared"):
        unequal.attach(model)


def test_two_models_share_nothing_and_are_freed() -> None:
    model, other = tiny_model("llama"), tiny_model("llama")
    before = bits(other)
    patch = random_patch(model, LINEAR, 0)
    patch.attach(model)
    assert equal(bits(other), before)
    patch.attach(other)
    patch.detach(model)
    assert patch.attached
    assert not patch.attached_to(model)
    assert equal(bits(model), before)
    freed = weakref.ref(other.model)
    del other
    gc.collect()
    assert freed() is None
    assert not patch.attached


@pytest.mark.parametrize(
    ("name", "delta"),
    [
        ("model.layers.9.mlp.down_proj.weight", Dense(torch.ones(1))),
        ("model.norm.bias", Dense(torch.ones(32))),
        (LINEAR, LowRank(torch.ones(32, 1), torch.ones(1, 47))),
        (LINEAR, Rows(torch.tensor([32]), torch.ones(1, 48))),
        (LINEAR, Dense(torch.ones(48, 32))),
    ],
)
def test_a_patch_for_another_model_touches_nothing(name: str, delta: Delta) -> None:
    model = tiny_model("llama")
    before = bits(model)
    with pytest.raises(WrongModel):
        patch_of({"model.norm.weight": Dense(torch.ones(32)), name: delta}).attach(model)
    assert equal(bits(model), before)
    assert attached_patches(model) == []


def test_quantised_parameters_are_refused() -> None:
    model = tiny_model("llama")
    model.block(0).mlp.down_proj.weight = torch.nn.Parameter(  # type: ignore[union-attr]
        torch.ones(32, 48, dtype=torch.int8), requires_grad=False
    )
    with pytest.raises(BadModel, match="quantised"):
        patch_of({"model.layers.0.mlp.down_proj.weight": Dense(torch.ones(32, 48))}).attach(model)


def test_a_failure_half_way_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")
    first = random_patch(model, LINEAR, 0)
    first.attach(model)
    before = bits(model)

    def fail(self: Dense, total: Tensor) -> None:
        total.add_(1)
        raise MemoryError

    monkeypatch.setattr(Dense, "add_to", fail)
    factors = LowRank(torch.ones(32, 1), torch.ones(1, 48))
    second = patch_of({LINEAR: factors, "model.norm.weight": Dense(torch.ones(32))})
    with pytest.raises(MemoryError):
        second.attach(model)
    assert not second.attached
    assert equal(bits(model), before)


def test_a_patch_from_a_difference_turns_before_into_after() -> None:
    model = tiny_model("gpt2")
    names = [DOWN["gpt2"], "transformer.ln_f.bias", "transformer.h.0.mlp.c_fc.weight"]
    before = {name: parameter_view(model.model, name).clone() for name in names}
    after = {**before, names[0]: before[names[0]] * 1.5, names[1]: before[names[1]] + 1}
    patch = WeightPatch.from_difference(before, after, method="ft", config={}, edits=["a", "b"])
    assert set(patch.deltas) == set(names[:2])
    patch.attach(model)
    for name in names:
        torch.testing.assert_close(parameter_view(model.model, name), after[name])
    with pytest.raises(BadPatch, match="same parameters"):
        WeightPatch.from_difference(before, {}, method="ft", config={}, edits=["a"])
    with pytest.raises(BadPatch, match="shape"):
        WeightPatch.from_difference({"x": torch.ones(2)}, {"x": torch.ones(3)}, method="ft", config={}, edits=["a"])


def test_edits_solved_together_go_together() -> None:
    patch = patch_of({}, "a", "b")
    assert patch.without({"a", "b", "c"}) is None
    assert patch.without({"c"}) is patch
    with pytest.raises(Inseparable, match="together"):
        patch.without({"a"})
    assert patch_of({}, "a").without({"a"}) is None


def test_no_edit_is_named_twice() -> None:
    with pytest.raises(BadPatch, match="twice"):
        patch_of({}, "a", "a")


def test_it_describes_itself() -> None:
    patch = patch_of({"x.weight": LowRank(torch.ones(4, 1), torch.ones(1, 3))}, "a", "b")
    assert patch.describe() == {
        "kind": "weights", "method": "ft", "edits": ["a", "b"], "bytes": 28, "parameters": {"x.weight": "low-rank"},
    }  # fmt: skip
    assert patch.increment(None) is patch
    assert WeightPatch.extended(None, patch) is patch
