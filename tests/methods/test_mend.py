"""MEND: which matrices, what training and editing must not do to the model, and every way an editor is refused."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch

from contract.steerable import TRAINING, lessons_for, reachable, steerable, trained
from errata import Edit, Editor
from errata.errors import BadConfig, BadPatch, WrongModel
from errata.learn.course import Schedule, train
from errata.learn.objective import with_answers
from errata.learn.rewriting import Rewriting
from errata.learn.trained import TrainedEditor
from errata.methods._base import create
from errata.methods._learned import LearnedMethod
from errata.methods._sites import top_blocks
from errata.methods.mend import Mend
from errata.patches.weights import LowRank, WeightPatch
from tiny import tiny_model

SHORT = {**{key: TRAINING[key] for key in ("batch", "lr", "rank")}, "steps": 4, "every": 2}


def learner(**options: object) -> Mend:
    made = create("mend", {**SHORT, **options})
    assert isinstance(made, Mend)
    return made


def test_the_last_three_blocks_or_the_last_two_of_each_stack():
    assert top_blocks(tiny_model("gpt2")) == [1, 2, 3]
    assert top_blocks(tiny_model("bert")) == [1, 2, 3]
    assert top_blocks(tiny_model("t5")) == [1, 2, 4, 5]  # of three and three


@pytest.mark.parametrize(("arch", "count"), [("gpt2", 6), ("llama", 6), ("t5", 8)])
def test_both_mlp_matrices_of_each(arch: str, count: int):
    sites, _ = learner().sites(tiny_model(arch), learner().lessons(lessons_for("gpt2")))
    assert len(sites) == count
    assert len({one.shape for one in sites}) == 2


def test_a_finished_training_is_not_done_again_and_other_options_are_refused(tmp_path: Path):
    model = steerable("gpt2")
    first = learner().train(model, lessons_for("gpt2"), tmp_path)
    written = (tmp_path / "editor.json").stat().st_mtime_ns
    again = learner().train(model, lessons_for("gpt2"), tmp_path)
    assert (tmp_path / "editor.json").stat().st_mtime_ns == written
    assert torch.equal(first.tensors["log_steps"], again.tensors["log_steps"])
    with pytest.raises(BadConfig, match=r"holds a trained editor, with another lr \(0.002, not 0.5\)"):
        learner(lr=0.5).train(model, lessons_for("gpt2"), tmp_path)
    with pytest.raises(BadConfig, match="with another training data"):
        learner().train(model, lessons_for("gpt2")[::-1], tmp_path)
    with pytest.raises(BadConfig, match="with another model"):
        learner().train(steerable("llama"), lessons_for("gpt2"), tmp_path)


def test_learned_step_sizes_move(tmp_path: Path):
    model = steerable("gpt2")
    with model.preserved():
        taught = with_answers(model, learner().lessons(lessons_for("gpt2")))
        course = learner(lr_steps=0.1, step=0.5).course(model, taught)
        assert isinstance(course, Rewriting)
        train(course, taught, tmp_path, Schedule(steps=4, batch=4, every=4), work={})
    moved = [abs(size - 0.5) for size in course.network.steps().values()]
    assert min(moved) > 1e-3
    assert max(moved) > 0.05


def test_diverging_training_is_one_clear_line(tmp_path: Path):
    with pytest.raises(BadConfig, match=r"mend for steerable-gpt2 diverged .*lower the learning") as caught:
        learner(lr=1e6, steps=20).train(steerable("gpt2"), lessons_for("gpt2"), tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "editor.json").exists()


def test_without_an_editor_it_says_how_to_make_one():
    with pytest.raises(BadConfig, match=r"'mend' needs an editor .*`errata train --model steerable-gpt2 --method mend"):
        create("mend").fit(steerable("gpt2"), reachable("gpt2"))


def test_an_editor_of_another_model_method_or_option_is_refused(tmp_path: Path):
    place = str(trained("mend", "gpt2"))
    with pytest.raises(WrongModel, match="was trained for steerable-gpt2"):
        create("mend", {"editor": place}).fit(steerable("llama"), reachable("llama"))
    with pytest.raises(BadConfig, match="trained for the method 'mend', not 'salem'"):
        create("salem", {"editor": place}).fit(steerable("gpt2"), reachable("gpt2"))
    with pytest.raises(BadConfig, match="was trained with rank 64, not 8; leave the option out"):
        create("mend", {"editor": place, "rank": 8}).fit(steerable("gpt2"), reachable("gpt2"))
    shutil.copytree(place, tmp_path / "other")
    card = json.loads((tmp_path / "other" / "editor.json").read_text())
    card["facts"]["sites"][0]["d_in"] += 1
    (tmp_path / "other" / "editor.json").write_text(json.dumps(card))
    with pytest.raises(WrongModel, match=r"a matrix '.*' of shape .* which steerable-gpt2 does not have"):
        create("mend", {"editor": str(tmp_path / "other")}).fit(steerable("gpt2"), reachable("gpt2"))
    with pytest.raises(BadConfig, match="there is no editor at"):
        create("mend", {"editor": str(tmp_path / "nowhere" / "at" / "all")}).fit(steerable("gpt2"), reachable("gpt2"))
    (tmp_path / "other" / "editor.safetensors").write_bytes(b"")
    with pytest.raises(BadPatch, match="truncated"):
        create("mend", {"editor": str(tmp_path / "other")}).fit(steerable("gpt2"), reachable("gpt2"))


def test_an_edited_model_may_use_the_editor_of_the_unedited_one():
    model, (first, second, _) = steerable("gpt2"), reachable("gpt2")
    method = create("mend", {"editor": str(trained("mend", "gpt2"))})
    patch = method.fit(model, [first]).patch
    assert patch is not None
    patch.attach(model)
    assert method.fit(model, [second]).patch is not None


def test_edits_beyond_one_batch_are_made_on_top_of_it(tmp_path: Path):
    place = trained("mend", "gpt2")
    method, model = create("mend", {"editor": str(place)}), steerable("gpt2")
    editor = TrainedEditor.load(place)
    assert isinstance(method, LearnedMethod)
    size = editor.options["batch"]
    edits = [Edit(f"{reachable('gpt2')[0].prompt} {n}", "Rome", id=f"e{n}") for n in range(size + 1)]
    whole = method.fit(model, edits).patch
    first = method.fit(model, edits[:size]).patch
    assert isinstance(whole, WeightPatch)
    assert isinstance(first, WeightPatch)
    first.attach(model)
    second = method.fit(model, edits[size:]).patch
    assert isinstance(second, WeightPatch)
    first.detach(model)
    for name, delta in whole.deltas.items():
        sums = [torch.zeros(view.shape) for view in [model.model.get_parameter(name).detach()] * 2]
        sums = [one.T if one.shape != (delta_shape(delta)) else one for one in sums]
        delta.add_to(sums[0])
        first.deltas[name].add_to(sums[1])
        second.deltas[name].add_to(sums[1])
        torch.testing.assert_close(sums[0], sums[1], atol=1e-4, rtol=1e-3)


def delta_shape(delta: object) -> torch.Size:
    return torch.Size((delta.B.shape[0], delta.A.shape[1])) if isinstance(delta, LowRank) else delta.values.shape  # type: ignore[attr-defined]


def test_a_sheet_opens_from_another_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    place = trained("mend", "bert")
    monkeypatch.chdir(place.parent)
    first, second, third = reachable("bert")
    with Editor.open(tmp_path / "sheet", model=steerable("bert")) as editor:
        assert editor.edit([first, second, third], "mend", editor=place.name).failed == []
    monkeypatch.chdir(tmp_path)
    with Editor.open(tmp_path / "sheet", model=steerable("bert")) as editor:
        editor.undo("e2")  # the other two are solved again, with the editor that the sheet names
        assert editor.generate([first.prompt, third.prompt]) == [first.target, third.target]


def test_an_editor_that_was_trained_anew_is_not_taken_for_the_old_one(tmp_path: Path):
    place = tmp_path / "editor"
    shutil.copytree(trained("mend", "gpt2"), place)
    first, second, third = reachable("gpt2")
    with Editor.open(tmp_path / "sheet", model=steerable("gpt2")) as editor:
        assert editor.edit([first, second, third], "mend", editor=str(place)).failed == []
        old = TrainedEditor.load(place)
        tensors = {name: tensor + 1 for name, tensor in old.tensors.items()}
        dataclasses.replace(old, tensors=tensors).save(place)
        with pytest.raises(BadConfig, match="not the one that these edits were made with"):
            editor.undo("e2")
        assert editor.generate([first.prompt]) == [first.target]


def test_edits_that_do_not_hold_are_given_to_the_network_again():
    model, asked = steerable("gpt2"), reachable("gpt2")
    weak = {"editor": str(trained("mend", "gpt2"))}
    once, often = (create("mend", {**weak, "passes": passes}) for passes in (1, 4))
    terms = []
    for method in (once, often):
        method.opened = lambda model, opened=method.opened: _weaker(opened(model))  # type: ignore[attr-defined, method-assign]
        fit = method.fit(model, asked)
        terms.append(fit.figures["e1"]["terms"])
    assert terms[1] > terms[0]


def _weaker(editor: TrainedEditor) -> TrainedEditor:
    """One whose updates are too small for an edit to hold."""
    tensors = {name: one - 6 if name.endswith("log_steps") else one for name, one in editor.tensors.items()}
    return dataclasses.replace(editor, tensors=tensors)


def test_training_data_without_what_is_needed():
    bare = [dataclasses.replace(edit, rephrases=()) for edit in lessons_for("gpt2")]
    with pytest.raises(BadConfig, match=r"0 of .* edits for training have rephrases"):
        learner().lessons(bare)
