"""Target states: found together as alone, doing what they promise, within their bounds."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from errata import Edit
from errata.models import EditableModel
from errata.models.hooks import replace_output
from errata.solve.keys import Facts, columns
from errata.solve.targets import Search, Targets, find_targets
from errata.solve.templates import Contexts
from tiny import tiny_model

SEARCH = Search(lr=0.25, steps=25, enough=0.3, clamp=4.0, kl=0.0625, decay=0.5, stop="target")
EDITS = [
    Edit("The capital of France is", "Madrid", subject="France", id="a"),
    Edit("The mother tongue of Danielle Darrieux is", "English", subject="Danielle Darrieux", id="b"),
    Edit("The official religion of Edwin of Northumbria is", "Islam", subject="Edwin of Northumbria", id="c"),
]
CONTEXTS = Contexts(("", "Yesterday they said. "), (0.5, 0.5))


@pytest.fixture(scope="module")
def lab() -> EditableModel:
    return EditableModel.load("lab:gpt")


def search(model: EditableModel, edits: list[Edit], layer: int = 2, site: str = "block", **options: object) -> Targets:
    with model.preserved():
        how = Search(**{**SEARCH.__dict__, **options})  # type: ignore[arg-type]
        return find_targets(model, Facts(edits, CONTEXTS), layer, site, how)  # type: ignore[arg-type]


def shifted(model: EditableModel, edit: Edit, prompt: str, path: str, delta: torch.Tensor) -> torch.Tensor:
    """Logits (T, V) of a plain forward of prompt, target and end, with `delta` added at the subject's last token."""
    batch = model.encode([prompt], [edit.target])
    end = prompt.rindex(str(edit.subject)) + len(str(edit.subject)) - 1
    (column,) = columns(model, [prompt], [end])

    def add(hidden: torch.Tensor) -> torch.Tensor:
        hidden = hidden.clone()
        hidden[0, column] += delta
        return hidden

    handle = replace_output(model.model.get_submodule(path), add)
    with torch.no_grad():
        logits = model.forward(batch)[0]
    handle.remove()
    return logits


def test_together_is_alone(lab: EditableModel):
    together = search(lab, EDITS)
    for place, edit in enumerate(EDITS):
        one = search(lab, [edit])
        cosine = functional.cosine_similarity(together.deltas[:, place], one.deltas[:, 0], dim=0)
        assert float(cosine) > 0.999
        assert one.steps[0] == together.steps[place]
    assert len(set(together.steps)) > 1  # an edit that is there leaves the batch


def test_small_batches_make_no_difference(lab: EditableModel):
    with lab.preserved():
        whole, split = (find_targets(lab, Facts(EDITS, CONTEXTS, rows), 2, "block", SEARCH) for rows in (256, 3))
    assert torch.nn.functional.cosine_similarity(whole.deltas, split.deltas, dim=0).min() > 0.999


def test_the_shift_does_what_is_reported(lab: EditableModel):
    found = search(lab, EDITS[1:2], kl=0.0, decay=0.0)
    edit, path = EDITS[1], lab.arch.blocks[2]
    losses = []
    for prefix in CONTEXTS.prefixes:
        logits = shifted(lab, edit, prefix + edit.prompt, path, found.deltas[:, 0].float())
        batch = lab.encode([prefix + edit.prompt], [edit.target])
        assert batch.gold is not None
        scored = batch.gold[0] != -100
        losses.append(functional.cross_entropy(logits[scored], batch.gold[0][scored]))
    assert float(sum(losses) / 2) == pytest.approx(found.loss[0], abs=1e-4)
    assert found.loss[0] < SEARCH.enough
    assert found.lead[0] > 0


@pytest.mark.parametrize("arch", ["gpt2", "gptj", "gpt_neox", "llama"])
def test_a_shift_of_the_mlp_is_one_of_the_block(arch: str) -> None:
    """In sequential and in parallel blocks: so the blocks above are all that has to be run."""
    model, edit = tiny_model(arch), Edit("The capital of France is", "Rome", subject="France", id="a")
    delta = torch.randn(model.width, generator=torch.Generator().manual_seed(0))
    logits = [
        shifted(model, edit, edit.prompt, path, delta)
        for path in (model.arch.blocks[1], model.arch.matrix(1, "mlp_down"))
    ]
    torch.testing.assert_close(logits[0], logits[1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("site", ["block", "mlp", "mlp+attention"])
def test_every_site_leads_to_the_target(lab: EditableModel, site: str) -> None:
    found = search(lab, EDITS[:1], site=site, clamp=20.0, lr=0.5, kl=0.0, decay=0.0)
    assert found.lead[0] > 0
    assert found.loss[0] < SEARCH.enough


def test_the_clamp_bounds_the_shift(lab: EditableModel):
    found = search(lab, EDITS, clamp=0.1)
    assert (found.deltas.norm(dim=0) <= 0.1001 * found.starts.norm(dim=0)).all()
    assert max(found.lead) < 0
    assert found.steps == [25, 25, 25]


def test_divergence_is_weighed(lab: EditableModel):
    loose, strict = (search(lab, EDITS, kl=kl, stop="loss", enough=0.0).divergence for kl in (0.0, 5.0))
    assert all(after < before for before, after in zip(loose, strict, strict=True))


def test_first_choice_stops_at_the_second_lead(lab: EditableModel):
    early = search(lab, EDITS, stop="first-choice")
    assert min(early.lead) > 0
    assert max(early.steps) < 25
    assert sum(early.steps) < sum(search(lab, EDITS, enough=0.01).steps)


def test_the_learning_rate_has_no_scale():
    """Blocks whose states are a hundred times larger are searched in the same number of steps."""
    model, prompt = tiny_model("gpt2"), "The capital of France is"
    edit = Edit(prompt, "Rome", subject=prompt, id="a")
    plain = search(model, [edit], layer=3)
    # The last block feeds a layer norm, which does not mind.
    handle = replace_output(model.model.get_submodule(model.arch.blocks[3]), lambda hidden: 100 * hidden)
    scaled = search(model, [edit], layer=3)
    handle.remove()
    assert scaled.steps == plain.steps
    tolerance = 0.02 * float(scaled.deltas.abs().max())
    torch.testing.assert_close(scaled.deltas, 100 * plain.deltas, rtol=0.02, atol=tolerance)
