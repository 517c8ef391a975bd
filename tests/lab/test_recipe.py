"""The recipe: deterministic, resumable to the same bits, and its optimiser does what it says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from interrupted import check_that_it_goes_on
from small_world import VOCABULARY, shrink
from torch import nn

from errata.errors import BadConfig
from errata.lab.recipes import gpt
from errata.lab.recipes.corpus import Sentence
from errata.lab.recipes.gpt import Phase, Recipe, Training
from errata.lab.recipes.optimizer import Muon, orthogonalise
from errata.lab.recipes.routing import read_late, through_subject
from errata.models import EditableModel

TINY = Recipe(
    blocks=2, width=16, heads=2, inner=32, vocabulary=VOCABULARY, context=64,
    phases=(Phase(2), Phase(2, routed=0.5), Phase(2, routed=0.75, reader=1)),
    sentences=8, prose_rows=1, microbatches=2,
)  # fmt: skip


@pytest.fixture(autouse=True)
def small_world(monkeypatch: pytest.MonkeyPatch):
    shrink(monkeypatch)


def test_an_interrupted_run_goes_on_to_the_same_bits(tmp_path: Path):
    check_that_it_goes_on(lambda folder: Training(TINY, folder), tmp_path)


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path):
    Training(TINY, tmp_path).save_checkpoint()
    with pytest.raises(BadConfig, match="another recipe"):
        Training(replace(TINY, seed=1), tmp_path)


def test_the_export_loads_as_float32_and_ends_answers(tmp_path: Path):
    training = Training(TINY, tmp_path)
    training.export(tmp_path / "model")
    model = EditableModel.load(str(tmp_path / "model"))
    assert model.dtype == torch.float32
    assert model.model.generation_config.eos_token_id == model.tokenizer.eos_token_id
    assert model.tokenizer("x")["input_ids"][0] == model.tokenizer.bos_token_id


def test_the_rate_warms_up_stays_and_falls_in_every_phase(tmp_path: Path):
    training = Training(replace(TINY, phases=(Phase(100), Phase(40)), warmup=10, decay_from=0.5), tmp_path)
    rates = []
    for training.step in (0, 9, 30, 75, 99, 100, 115, 130):
        rates.append(training.rate())
    assert rates == pytest.approx([0.1, 1.0, 1.0, 0.5, 0.02, 0.1, 1.0, 0.5])


def test_a_share_of_the_microbatches_is_routed_and_each_gets_its_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    training = Training(replace(TINY, phases=(Phase(8, routed=0.75, reader=1),)), tmp_path)
    routed: list[tuple[int, int]] = []
    real = gpt.read_late

    def noted(model, rows, length, block):
        routed.append((training.step, number))
        return real(model, rows, length, block)

    monkeypatch.setattr(gpt, "read_late", noted)
    rows = training.source.draw(4)
    for training.step in range(4):
        for number in range(4):
            training.fact_loss(rows, number)
    assert len(routed) == 12
    assert all(sum(one == number for _, one in routed) == 3 for number in range(4))


def test_what_follows_a_subject_sees_its_last_token_alone():
    # start, subject of three tokens, two more words, answer, end
    mask = through_subject([Sentence(list(range(8)), 2, (1, 3))], length=8)[0, 0]
    seen = [[place for place in range(8) if row[place] == 0] for row in mask]
    assert seen[2] == [0, 1, 2], "inside the subject nothing changes"
    assert seen[3] == [0, 1, 2, 3]
    assert seen[5] == [0, 3, 4, 5]


def test_late_readers_know_a_subject_by_one_state_alone(tmp_path: Path):
    model = Training(TINY, tmp_path).model.eval()
    row = Sentence(list(range(2, 10)), 2, (1, 3))
    ids = torch.tensor([row.ids])
    state: list[torch.Tensor] = []
    keep = model.transformer.h[0].register_forward_hook(lambda module, args, out: state.append(out.clone()))
    with read_late(model, [row], 8, block=1) as mask:
        first = model.transformer(ids, attention_mask=mask).last_hidden_state
    keep.remove()
    # Other tokens for the subject, with its one state put back: what follows must not notice.
    other = ids.clone()
    other[0, 1:4] = torch.tensor([11, 12, 13])

    def put_back(module, args, out):
        out[:, 3] = state[0][:, 3]
        return out

    restore = model.transformer.h[0].register_forward_hook(put_back)
    with read_late(model, [row], 8, block=1) as mask:
        second = model.transformer(other, attention_mask=mask).last_hidden_state
    restore.remove()
    assert torch.allclose(first[:, 4:], second[:, 4:], atol=1e-6)
    assert not torch.allclose(first[:, 1:3], second[:, 1:3], atol=1e-3)


def test_orthogonalise_brings_singular_values_near_one():
    matrix = torch.randn(6, 20, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalise(matrix))
    assert values.min() > 0.6
    assert values.max() < 1.3
    assert torch.linalg.svdvals(matrix).max() / torch.linalg.svdvals(matrix).min() > 2


def test_muon_steps_against_the_gradient_with_the_size_of_its_rate():
    parameter = nn.Parameter(torch.zeros(4, 8))
    parameter.grad = torch.randn(4, 8, generator=torch.Generator().manual_seed(1))
    Muon([parameter], lr=0.5).step()
    assert (parameter * parameter.grad).sum() < 0
    # Entries have a root mean square of 0.2 x rate, whatever the gradient's size.
    assert float(parameter.detach().square().mean().sqrt()) == pytest.approx(0.1, rel=0.35)
