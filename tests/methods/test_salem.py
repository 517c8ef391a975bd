"""SaLEM: how its one matrix is chosen, what the network sees, and that one matrix is all that an edit changes."""

from __future__ import annotations

import dataclasses
import json

import pytest

from contract.steerable import lessons_for, reachable, steerable, trained
from errata.edits import Probe
from errata.errors import BadConfig
from errata.learn.lessons import Lessons
from errata.learn.objective import with_answers
from errata.locate.salience import salience
from errata.methods._base import create
from errata.methods.salem import Salem, _samples
from errata.models import EditableModel
from errata.models.factors import gradient_factors
from errata.models.hooks import as_matrix
from errata.patches.weights import LowRank, WeightPatch


def learner(**options: object) -> Salem:
    made = create("salem", {"choosing": 12, **options})
    assert isinstance(made, Salem)
    return made


def taught(model: EditableModel) -> Lessons:
    edits = lessons_for("bert")
    turned = [dataclasses.replace(edit, locality=edit.locality[n:] + edit.locality[:n]) for n, edit in enumerate(edits)]
    return with_answers(model, learner().lessons(turned, turned[:1]))


@pytest.mark.parametrize("how", ["relative", "absolute"])
@pytest.mark.parametrize(("among", "blocks"), [("last", {1, 2, 3}), ("all", {0, 1, 2, 3})])
def test_the_matrix_is_the_most_salient_of_the_mlps(how: str, among: str, blocks: set[int]):
    model = steerable("bert")
    lessons, method = taught(model), learner(salience=how, among=among)
    (one,), why = method.sites(model, lessons)
    samples = _samples(model, lessons.batch(0, min(12, len(lessons.training))))
    scores = {}
    for row in salience(model, samples).rows():
        if row["block"] in blocks and row["role"].startswith("mlp"):
            path = model.arch.matrix(row["block"], row["role"])
            size = float(as_matrix(model.model.get_submodule(path)).square().mean().sqrt())
            scores[path] = row["score"] * (size if how == "relative" else 1.0)
    assert one.path == max(scores, key=scores.__getitem__)
    assert why["salience"][0]["score"] == pytest.approx(scores[one.path])
    assert [row["score"] for row in why["salience"]] == sorted(scores.values(), reverse=True)[:4]
    assert min(why["samples"].values()) >= 4


def test_a_matrix_may_be_named():
    model = steerable("gpt2")
    (one,), why = learner(layer=-2).sites(model, learner().lessons(lessons_for("gpt2")))
    assert one.path == model.arch.matrix(2, "mlp_down")
    assert why == {}


def test_too_few_samples_of_a_kind_are_told():
    model = steerable("bert")
    lessons = taught(model)
    lonely = tuple(dataclasses.replace(one, locality=()) for one in lessons.training)
    with pytest.raises(BadConfig, match=r"0 samples that the model has an answer to .* at least 4"):
        learner().sites(model, dataclasses.replace(lessons, training=lonely))


def test_where_no_probe_is_answered_rightly_the_models_own_answers_are_what_passes():
    model = steerable("bert")

    def denied(probe: Probe) -> Probe:
        (said,) = model.generate([probe.prompt])
        return Probe(probe.prompt, next(label for label in model.labels if label != said))

    lessons = [
        dataclasses.replace(one, locality=tuple(map(denied, one.locality))) for one in taught(model).training
    ]
    passing = [one for one in _samples(model, lessons) if one.group == "pass"]
    assert len(passing) >= 4
    assert [one.target for one in passing] == model.generate([one.prompt for one in passing])


def test_one_matrix_is_rewritten_by_few_directions():
    place = trained("salem", "gpt2")
    model, edits = steerable("gpt2"), reachable("gpt2")
    card = json.loads((place / "editor.json").read_text())
    fit = create("salem", {"editor": str(place), "passes": 1}).fit(model, edits)
    assert isinstance(fit.patch, WeightPatch)
    (name,) = fit.patch.deltas
    (told,) = card["facts"]["sites"]
    assert name == f"{told['path']}.weight"
    delta = fit.patch.deltas[name]
    assert isinstance(delta, LowRank)
    batch = model.encode([edit.prompt for edit in edits], [edit.target for edit in edits])
    pairs = learner().read(gradient_factors(model, batch, [told["path"]])[told["path"]])
    assert delta.A.shape[0] == len(pairs[0]) == fit.figures["e1"]["terms"]


def test_less_energy_is_fewer_directions():
    model, edits = steerable("gpt2"), reachable("gpt2")
    path = model.arch.matrix(1, "mlp_up")
    batch = model.encode([edit.prompt for edit in edits], [edit.target for edit in edits])
    factors = gradient_factors(model, batch, [path])[path]
    ranks = [len(learner(energy=energy).read(factors)[0]) for energy in (0.3, 0.9, 1.0)]
    assert ranks == sorted(ranks)
    assert ranks[0] < ranks[2]
