"""The locate-then-edit family: settings, what is refused, what patches remember, and options that combine."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from errata import Edit, Editor
from errata.errors import BadConfig, BadEdit, BadModel
from errata.locate.choose import auto_layers
from errata.methods import _located
from errata.methods._base import METHODS, create
from errata.methods._located import Located
from errata.methods._published import family
from errata.methods._sites import parse_layers
from errata.methods._work import remembered
from errata.models import EditableModel
from errata.models.hooks import as_matrix
from errata.patches.weights import LowRank, WeightPatch
from errata.solve.keys import Facts, read_keys
from errata.solve.templates import contexts
from tiny import tiny_model

FAMILY = [name for name in METHODS.names() if issubclass(METHODS.get(name), Located)]
KEEPERS = ["memit-seq", "alphaedit", "nse"]
FRANCE = Edit("The capital of France is", "Madrid", subject="France", id="a")
DARRIEUX = Edit("The mother tongue of Danielle Darrieux is", "English", subject="Danielle Darrieux", id="b")
QUICK: dict[str, Any] = {"tokens": 4000, "layers": "1"}


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ERRATA_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="module")
def lab() -> EditableModel:
    return EditableModel.load("lab:gpt")


def known(kind: str, width: int, depth: int, vocabulary: int) -> Any:
    config = SimpleNamespace(model_type=kind, vocab_size=vocabulary)
    config.get_text_config = lambda: config
    return SimpleNamespace(model=SimpleNamespace(config=config), width=width, arch=range(depth))


def test_well_known_models_are_told_by_their_config():
    assert family(known("gpt2", 1600, 48, 50257)) == "gpt2-xl"
    assert family(known("llama", 4096, 32, 32000)) == "llama-2-7b"
    assert family(known("llama", 4096, 32, 128256)) == "llama-3-8b"
    assert family(known("llama", 2048, 16, 128256)) is None


@pytest.mark.parametrize(
    ("text", "layers"),
    [(2, (2,)), ("2", (2,)), ("1-3", (1, 2, 3)), ("3,1", (1, 3)), ("-1", (3,)), ("0.34", (1,)), (0.34, (1,))],
)
def test_layers_are_numbers_ranges_lists_or_depths(text: Any, layers: tuple[int, ...]) -> None:
    assert parse_layers(tiny_model("gpt2"), text) == layers


@pytest.mark.parametrize(
    ("text", "words"), [("a", "is not a number"), ("3-1", "names no block"), ("9", "does not exist")]
)
def test_bad_layers_are_explained(text: str, words: str) -> None:
    with pytest.raises(BadConfig, match=words):
        parse_layers(tiny_model("gpt2"), text)


@pytest.mark.parametrize("name", FAMILY)
def test_every_automatic_option_finds_a_value(name: str) -> None:
    config = create(name).settled(tiny_model("gpt2"))
    assert [option for option, value in config.to_json().items() if value == "auto"] == ["layers"]
    assert create(name, {"lr": 0.125}).settled(tiny_model("gpt2")).lr == 0.125


@pytest.mark.parametrize("name", [FAMILY[0], *(pytest.param(name, marks=pytest.mark.slow) for name in FAMILY[1:])])
def test_automatic_layers_are_where_tracing_finds_facts(name: str, lab: EditableModel) -> None:
    need = create(name).needs(lab)
    assert need is not None
    assert list(need.layers) == auto_layers(lab, n=len(need.layers)).layers


def test_a_model_that_knows_nothing_is_edited_at_the_usual_depth() -> None:
    model = tiny_model("gpt2")
    with pytest.raises(BadEdit):
        auto_layers(model)
    assert create("rome").needs(model).layers == (1,)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", FAMILY)
def test_other_tasks_and_edits_without_a_subject_are_refused(name: str) -> None:
    with pytest.raises(BadModel, match=r"causal language models.*grace"):
        create(name).fit(tiny_model("t5"), [FRANCE])
    with pytest.raises(BadEdit, match=r"edit 'x' .*names no subject"):
        create(name).fit(tiny_model("gpt2"), [FRANCE, Edit("Who wrote it?", "Rome", id="x")])
    assert create(name).needs(tiny_model("bert")) is None


@pytest.mark.parametrize("name", FAMILY)
def test_one_edit_is_low_rank_and_an_unreachable_one_says_why(lab: EditableModel, name: str) -> None:
    fit = create(name, QUICK).fit(lab, [FRANCE])
    assert isinstance(fit.patch, WeightPatch)
    for delta in fit.patch.deltas.values():
        assert isinstance(delta, LowRank)
        assert delta.A.shape[0] <= 2  # one for each sweep
    bound = create(name, {**QUICK, "clamp": 1e-3, "steps": 1}).fit(lab, [FRANCE])
    assert bound.patch is None
    assert "larger clamp or more steps" in bound.figures["a"]["problem"]


def test_one_that_fails_does_not_spoil_the_patch_of_the_others(lab: EditableModel):
    hopeless = Edit("The capital of Japan is", "qqq zzz qqq zzz", subject="Japan", id="no")
    fit = create("memit", {**QUICK, "clamp": 2.0, "steps": 12}).fit(lab, [FRANCE, hopeless])
    assert fit.patch is not None
    assert fit.patch.edits == ("a",)
    assert "problem" in fit.figures["no"]


def test_solving_again_without_one_searches_no_state_again(lab: EditableModel, monkeypatch: pytest.MonkeyPatch):
    method = create("memit", QUICK)
    both, alone = method.fit(lab, [FRANCE, DARRIEUX]), method.fit(lab, [DARRIEUX]).patch
    monkeypatch.setattr(_located, "find_targets", lambda *given: pytest.fail("searched"))
    again = method.refit(lab, [DARRIEUX], None, both).patch
    assert isinstance(again, WeightPatch)
    assert isinstance(alone, WeightPatch)
    assert again.edits == ("b",)
    for name, delta in alone.deltas.items():
        found, wanted = again.deltas[name].tensors(), delta.tensors()
        torch.testing.assert_close(found["B"] @ found["A"], wanted["B"] @ wanted["A"], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", KEEPERS)
def test_keys_of_undone_edits_are_forgotten(lab: EditableModel, name: str) -> None:
    with Editor(lab) as editor:
        editor.edit(FRANCE, name, **QUICK)
        (first,) = {keys.shape for keys in remembered(lab, name).values()}
        editor.edit(DARRIEUX, name, **QUICK)
        assert {keys.shape for keys in remembered(lab, name).values()} == {(first[0], 2)}
        kept = remembered(lab, name)
        editor.undo("a")
        left = remembered(lab, name)
        assert all(torch.equal(left[layer][:, 0], kept[layer][:, 1]) for layer in kept)
    assert remembered(lab, name) == {}


def test_remembered_keys_are_spared(lab: EditableModel):
    """With the key of an earlier edit in the cache, the next update moves it less than half as much."""
    twin = Edit("The capital of Italy is", "Vienna", subject="Italy", id="c")
    moved = {}
    for name in ("memit", "memit-seq"):
        with Editor(lab) as editor:
            editor.edit(FRANCE, name, **QUICK)
            facts = Facts([FRANCE], contexts(lab, "memit", 0))
            keys = read_keys(lab, facts, 1)[:, 0].float()
            patch = create(name, QUICK).fit(lab, [twin]).patch
            assert isinstance(patch, WeightPatch)
            delta = patch.deltas[f"{lab.arch.matrix(1, 'mlp_down')}.weight"]
            assert isinstance(delta, LowRank)
            moved[name] = float((delta.B @ (delta.A @ keys)).norm())
    assert moved["memit-seq"] < 0.5 * moved["memit"]


def test_rewinding_finds_the_states_of_the_original_model(lab: EditableModel):
    near = Edit("The mother tongue of Jean Vautrin is", "Russian", subject="Jean Vautrin")
    with Editor(lab) as editor:

        def found(rewind: bool) -> float:
            """The loss after a few steps."""
            fitted = editor.edit(DARRIEUX, "nse", dry_run=True, **{**QUICK, "rewind": rewind, "steps": 4})
            return fitted.results[0].figures["loss"]

        alone = found(True)
        assert found(False) == alone
        assert editor.edit([FRANCE, near], "nse", **QUICK).failed == []
        assert found(True) == pytest.approx(alone, rel=1e-5)
        assert found(False) != pytest.approx(alone, rel=1e-5)


def test_the_bare_key_in_the_denominator_is_an_option(lab: EditableModel):
    told = {
        consistent: create("rome", {**QUICK, "consistent": consistent}).fit(lab, [FRANCE]).figures["a"]
        for consistent in (True, False)
    }
    assert told[True]["alignment"] > 0
    assert told[True]["alignment"] != pytest.approx(told[False]["alignment"], rel=1e-3)


@pytest.mark.parametrize(
    "options",
    [
        {"blue": True},
        {"anchor": True},
        {"sphere": 0.2},
        {"post": "rect", "keep": 0.7},
        {"ridge": 1.0, "stop": "first-choice", "lr": 0.1},
        {"blue": True, "anchor": True, "sphere": 0.1},
    ],
)
def test_stabilisers_combine_and_the_edit_holds(lab: EditableModel, options: dict[str, Any]) -> None:
    before = lab.fingerprint()
    with Editor(lab) as editor:
        spread = {"layers": "1-2", "weight": 64.0, **options}
        assert editor.edit(FRANCE, "memit-seq", **{**QUICK, **spread}).failed == []
        assert editor.generate(FRANCE.prompt) == "Madrid"
    assert lab.fingerprint() == before


def test_prune_draws_in_the_largest_singular_values(lab: EditableModel):
    sizes = {}
    for post in ("none", "prune"):
        patch = create("memit-seq", {**QUICK, "weight": 64.0, "post": post}).fit(lab, [FRANCE]).patch
        assert isinstance(patch, WeightPatch)
        (delta,) = patch.deltas.values()
        assert isinstance(delta, LowRank)
        sizes[post] = float(torch.linalg.matrix_norm(delta.B @ delta.A, 2))
    original = as_matrix(lab.model.get_submodule(lab.arch.matrix(1, "mlp_down")))
    bound = float(torch.linalg.matrix_norm(original, 2))
    assert sizes["none"] > bound
    # Xu et al.: sigma becomes log(sigma) - log(bound) + bound
    assert sizes["prune"] == pytest.approx(math.log(sizes["none"] / bound) + bound, rel=1e-3)


def test_blue_edits_the_first_and_last_block(lab: EditableModel):
    method = create("memit", {"layers": "0-3", "blue": True})
    assert method.needs(lab).layers == (0, 3)  # type: ignore[union-attr]


def test_several_edits_of_one_call_hold_together(lab: EditableModel):
    with Editor(lab) as editor:
        receipt = editor.edit([FRANCE, DARRIEUX], "memit", **QUICK)
        assert receipt.failed == []
        assert editor.generate([FRANCE.prompt, DARRIEUX.prompt]) == ["Madrid", "English"]


@pytest.mark.parametrize("name", ["rome", "memit"])
def test_a_subject_that_occurs_twice_in_a_prompt_with_braces(lab: EditableModel, name: str) -> None:
    edit = Edit("France {}? The capital of France is", "Madrid", subject="France")
    with Editor(lab) as editor:
        assert editor.edit(edit, name, **QUICK).failed == []
        assert editor.generate(edit.prompt) == "Madrid"
