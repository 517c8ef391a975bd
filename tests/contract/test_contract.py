"""What every method promises, on every kind of model. A new method is found in the registry, with no change here."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from contract.marks import logits, marks
from contract.steerable import (
    OTHERS,
    PROMPTS,
    TWICES,
    UNASKED,
    carries,
    gentle,
    holds,
    maker,
    options,
    places,
    reachable,
    searches_states,
    spares,
    steerable,
    targets,
)  # fmt: skip
from errata import Edit, Editor
from errata.errors import BadModel, CannotExport
from errata.methods._base import METHODS
from errata.models import EditableModel
from errata.models.arch import Linear
from errata.models.losses import target_loss
from errata.patches.base import Patch
from errata.patches.export import export_lora
from errata.patches.files import load_patch, save_patch
from errata.patches.weights import WeightPatch

ARCHITECTURES = ("gpt2", "llama", "gpt_neox", "qwen2", "opt", "backpack", "t5", "bert")
TEXT = ("gpt2", "llama", "gpt_neox", "qwen2", "opt", "backpack")
FEW = ("gpt2", "t5", "bert")  # one of each task
ALIKE = ("qwen2", "opt")  # built as llama and gpt2 are, but for a bias or two
KINDRED = ("llama", "gpt_neox", "backpack")  # other names and sums around the same matrices: one method of each kind
# What edits conversations alone is held to the same in tests/patches/test_scoped.py and test_noted.py.
NAMES = [name for name in METHODS.names() if not METHODS.get(name).meta["chat"]]


def differs(name: str, arch: str) -> bool:
    """Whether an architecture is another one for a method; a kindred one is for the first method of each kind.

    Editors take seconds to train: those of the first of each kind are trained for every task, the others for one.
    """
    family = arch.split("-")[0]
    if family in KINDRED or (METHODS.get(name).meta["needs_training"] and family != FEW[0]):
        return first_of_its_kind(name)
    return family not in ALIKE


def leads(name: str, arch: str) -> bool:
    """Where what is tried is the patch rather than the method: every method on one model, one of each kind on all."""
    return arch.split("-")[0] == FEW[0] or (differs(name, arch) and first_of_its_kind(name))


@cache
def first_of_its_kind(name: str) -> bool:
    return name == next(one for one in NAMES if kind(one) == kind(name))


def kind(name: str) -> tuple[str, bool, bool]:
    """The kind of patch, whether an editor is trained first, and whether a state of the subject is looked for."""
    meta = METHODS.get(name).meta
    return meta["patch"], meta["needs_training"], searches_states(name)


def fitting(
    archs: tuple[str, ...], *, where: Callable[[str, str], bool] = carries, daily: Callable[[str, str], bool] = differs
) -> pytest.MarkDecorator:
    """Every method on those of the architectures that it edits, and of which `where` is true.

    Where `daily` is not, no other code runs than in another case: tried on demand (make test-slow).
    """
    cases = [
        pytest.param(name, arch, marks=[] if daily(name, arch) else pytest.mark.slow)
        for name in NAMES for arch in places(name, archs) if where(name, arch)
    ]  # fmt: skip
    return pytest.mark.parametrize(("name", "arch"), cases)


methods = pytest.mark.parametrize("name", NAMES)
everywhere = fitting(ARCHITECTURES)
where_edits_hold = fitting(ARCHITECTURES, where=holds)
once_a_task = fitting(FEW)
once_a_kind = fitting(FEW, daily=leads)
where_text = fitting(TEXT, where=holds)


class Fitted(NamedTuple):
    """One fit of three edits, the model as it was handed over with what it looked like before and after."""

    before: dict
    after: dict
    patch: Patch
    problems: list


@cache
def fitted(name: str, arch: str, dtype: torch.dtype = torch.float32) -> Fitted:
    model = steerable(arch, dtype)
    weight, other = list(model.model.parameters())[:2]
    model.model.train()  # as a user may hand it over: half way through training, with some of it frozen
    weight.requires_grad_(False)
    other.grad = torch.ones_like(other)
    before = marks(model) if dtype == torch.float32 else {}
    fit = maker(name, arch, dtype).fit(model, reachable(arch))
    after = marks(model) if dtype == torch.float32 else {}
    assert fit.patch is not None
    return Fitted(before, after, fit.patch, [f["problem"] for f in fit.figures.values() if "problem" in f])


def patched(name: str, arch: str, dtype: torch.dtype = torch.float32) -> tuple[EditableModel, Patch]:
    """A fresh model with a patch of its own attached."""
    model, patch = steerable(arch, dtype), fitted(name, arch, dtype).patch
    patch = type(patch).from_parts(patch.header(), patch.tensors())
    patch.attach(model)
    return model, patch


def asked(arch: str) -> tuple[list[str], list[str]]:
    return [edit.prompt for edit in reachable(arch)], [edit.target for edit in reachable(arch)]


def answers(model: EditableModel, arch: str) -> list[str]:
    return model.generate(asked(arch)[0], max_new_tokens=4)


@everywhere
def test_fit_leaves_no_mark(name: str, arch: str) -> None:
    fit = fitted(name, arch)
    assert fit.problems == []
    assert fit.after == fit.before


@once_a_task
@pytest.mark.parametrize("at", [1, 4])
def test_a_fit_that_raises_leaves_no_mark(name: str, arch: str, at: int) -> None:
    method, model, calls = maker(name, arch, enough=0.0, lead=1e9), steerable(arch), 0
    head = model.model.get_output_embeddings() or model.model.classifier

    def fail(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == at:
            raise RuntimeError("out of memory")

    handle = head.register_forward_hook(fail)
    before, asks = marks(model), METHODS.get(name).meta["patch"] not in UNASKED
    # One forward is all that some need.
    with pytest.raises(RuntimeError, match="out of memory") if at == 1 and asks else contextlib.suppress(RuntimeError):
        method.fit(model, reachable(arch))
    assert marks(model) == before
    handle.remove()


@everywhere
def test_attach_then_detach_gives_the_bits_back(name: str, arch: str) -> None:
    model, patch = steerable(arch), fitted(name, arch).patch
    before, said = marks(model), logits(model, list(PROMPTS))
    patch.attach(model)
    assert not torch.equal(logits(model, list(PROMPTS)), said)
    patch.detach(model)
    assert torch.equal(logits(model, list(PROMPTS)), said)
    assert marks(model) == before


@where_edits_hold
def test_every_target_becomes_the_answer(name: str, arch: str) -> None:
    prompts, wanted = asked(arch)
    plain, (model, _) = steerable(arch), patched(name, arch)
    batch = plain.encode(prompts, wanted)
    assert batch.gold is not None
    with torch.no_grad():
        before, after = (target_loss(one.forward(batch), batch.gold) for one in (plain, model))
    assert (after < before).all()
    assert not any(old == new for old, new in zip(answers(plain, arch), wanted, strict=True))
    assert answers(model, arch) == wanted
    assert model.greedy_match(batch).all()


@everywhere
def test_a_saved_patch_gives_equal_logits(name: str, arch: str, tmp_path: Path) -> None:
    model, patch = patched(name, arch)
    base = {"name": arch, "fingerprint": "f"}
    digest = save_patch(tmp_path / "one.safetensors", patch, base)
    loaded = load_patch(tmp_path / "one.safetensors", expect_sha256=digest, fingerprint="f")
    assert (loaded.method, loaded.edits, loaded.config) == (name, patch.edits, patch.config)
    other = steerable(arch)
    loaded.attach(other)
    prompts = [*PROMPTS, *OTHERS]
    assert torch.equal(logits(other, prompts), logits(model, prompts))


@everywhere
def test_one_by_one_and_batched_agree(name: str, arch: str) -> None:
    model, _ = patched(name, arch)
    prompts = [*PROMPTS, *OTHERS]
    alone = [model.generate([prompt], max_new_tokens=3)[0] for prompt in prompts]
    assert model.generate(prompts, max_new_tokens=3) == alone
    batch = model.encode(prompts)
    together = logits(model, prompts)
    for row, prompt in enumerate(prompts):
        single = logits(model, [prompt])[0]
        size = 1 if batch.decoder_input_ids is not None else len(single)
        torch.testing.assert_close(together[row, :size], single[:size], atol=2e-4, rtol=1e-3)


@where_edits_hold
def test_left_and_right_padding_agree(name: str, arch: str) -> None:
    model, _ = patched(name, arch)
    prompts, wanted = asked(arch)
    right = model.encode(prompts, wanted)
    left = model.encode(prompts, wanted, padding_side="left")
    assert right.gold is not None
    assert left.gold is not None
    with torch.no_grad():
        rows = [model.forward(batch)[batch.gold != -100] for batch in (right, left)]
    torch.testing.assert_close(rows[0], rows[1], atol=2e-4, rtol=1e-3)
    assert model.greedy_match(left).all()


@once_a_kind
def test_the_same_call_gives_the_same_patch(name: str, arch: str) -> None:
    torch.manual_seed(99)  # of no influence: methods are seeded by their own option
    again = maker(name, arch).fit(steerable(arch), reachable(arch)).patch
    first = fitted(name, arch).patch
    assert again is not None
    assert again.header() == first.header()
    assert again.tensors().keys() == first.tensors().keys()
    for key, tensor in first.tensors().items():
        assert torch.equal(again.tensors()[key], tensor), key


@fitting(ARCHITECTURES, where=spares, daily=leads)
def test_undo_in_the_middle_leaves_the_others(name: str, arch: str) -> None:
    prompts, wanted = asked(arch)
    model = steerable(arch)
    with Editor(model) as editor:
        before = marks(model)
        for edit in reachable(arch):
            assert editor.edit(edit, name, **gentle(name, arch)).failed == []
        editor.undo("e2")
        fresh = steerable(arch)
        for patch in editor.patches:
            type(patch).from_parts(patch.header(), patch.tensors()).attach(fresh)
        torch.testing.assert_close(logits(model, prompts), logits(fresh, prompts), atol=1e-5, rtol=1e-4)
        now = editor.generate(prompts, max_new_tokens=4)
        assert (now[0], now[2]) == (wanted[0], wanted[2])
        editor.undo("e1", "e3")
        assert marks(model) == before


@everywhere
def test_matrices_export_as_lora_and_everything_else_refuses(name: str, arch: str, tmp_path: Path) -> None:
    model, patch = patched(name, arch)
    if not isinstance(patch, WeightPatch) or not all(_is_matrix(model, path) for path in patch.deltas):
        with pytest.raises(CannotExport):
            export_lora(model, [patch], tmp_path / "lora")
        assert not (tmp_path / "lora").exists()
        return
    from peft import PeftModel

    export_lora(model, [patch], tmp_path / "lora")
    plain = steerable(arch)
    inputs = plain.inputs(plain.encode([*PROMPTS, *OTHERS]))
    adapted = PeftModel.from_pretrained(plain.model, tmp_path / "lora").eval()
    with torch.no_grad():
        torch.testing.assert_close(adapted(**inputs).logits, model.model(**inputs).logits, atol=1e-4, rtol=1e-4)


def _is_matrix(model: EditableModel, parameter: str) -> bool:
    """Whether it is the weight of a linear module, which is all that LoRA can change."""
    path, _, leaf = parameter.rpartition(".")
    return leaf == "weight" and isinstance(model.model.get_submodule(path), Linear)


@once_a_kind
def test_bfloat16_works_and_keeps_its_bits(name: str, arch: str) -> None:
    fit = fitted(name, arch, torch.bfloat16)
    assert fit.problems == []
    model = steerable(arch, torch.bfloat16)
    before = model.fingerprint()
    fit.patch.attach(model)
    assert answers(model, arch) == asked(arch)[1]
    fit.patch.detach(model)
    assert model.fingerprint() == before


@once_a_kind
def test_train_mode_changes_nothing(name: str, arch: str) -> None:
    model = steerable(arch)
    model.model.train()
    with Editor(model) as editor:
        editor.edit(reachable(arch), name, **options(name, arch))
        patch = next(iter(editor._stack.patches.values()))
        expected, tensors = fitted(name, arch).patch.tensors(), patch.tensors()
        model.model(**model.inputs(model.encode(list(PROMPTS))))  # a forward in train mode learns nothing
        assert all(torch.equal(tensors[key], expected[key]) for key in expected)
        assert patch.tensors().keys() == tensors.keys()
        assert model.model.training
        assert editor.generate(asked(arch)[0], max_new_tokens=4) == asked(arch)[1]


@methods
def test_two_editors_do_not_influence_one_another(name: str) -> None:
    arch = places(name, FEW)[0]
    one, other = steerable(arch), steerable(arch)
    first, second, third = reachable(arch)
    different = dataclasses.replace(first, target=targets(arch, first.prompt)[1], id=None)
    with Editor(one) as left, Editor(other) as right:
        left.edit(first, name, **options(name, arch))
        alone = logits(one, list(PROMPTS))
        assert right.edit([different, second, third][:1], name, **options(name, arch)).failed == []
        assert torch.equal(logits(one, list(PROMPTS)), alone)
        assert left.generate(first.prompt) == first.target
        assert right.generate(first.prompt) == different.target
        right.undo("e1")
        assert torch.equal(logits(one, list(PROMPTS)), alone)
    assert one.fingerprint() == other.fingerprint()


@fitting(("gpt2", "llama"), daily=leads)
def test_a_leading_space_makes_no_difference(name: str, arch: str) -> None:
    spaced = [dataclasses.replace(edit, target=f" {edit.target}") for edit in reachable(arch)]
    patch = maker(name, arch).fit(steerable(arch), spaced).patch
    assert patch is not None
    expected = fitted(name, arch).patch.tensors()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in patch.tensors().items())


@once_a_kind
def test_a_subject_that_occurs_twice(name: str, arch: str) -> None:
    if searches_states(name):
        pytest.skip("in a random model the first of several places does not steer the answer; see tests/methods")
    prompt = next(prompt for prompt in TWICES if targets(arch, prompt))
    target = targets(arch, prompt)[0]
    edit = Edit(prompt, target, subject="Rome")
    with Editor(steerable(arch)) as editor:
        receipt = editor.edit(edit, name, **options(name, arch))
        assert receipt.failed == []
        assert editor.generate(prompt, max_new_tokens=4) == target


@where_text
def test_the_models_own_generate_gives_the_edited_answer(name: str, arch: str) -> None:
    model, _ = patched(name, arch)
    prompts, wanted = asked(arch)
    tokenizer = copy.deepcopy(model.tokenizer)
    tokenizer.padding_side = "left"
    inputs = tokenizer(prompts, return_tensors="pt", padding=True, return_token_type_ids=False)
    written = model.model.generate(**inputs, max_new_tokens=4, do_sample=False, use_cache=True)
    fresh = written[:, inputs["input_ids"].shape[1] :]
    assert [text.strip() for text in tokenizer.batch_decode(fresh, skip_special_tokens=True)] == wanted


@methods
@pytest.mark.parametrize("arch", FEW)
def test_a_model_that_it_does_not_edit_is_refused(name: str, arch: str) -> None:
    if carries(name, arch):
        return
    model = steerable(arch)
    before = marks(model)
    with pytest.raises(BadModel, match=f"'{name}' edits .*use"):
        maker(name, arch).fit(model, reachable(arch))
    assert marks(model) == before
