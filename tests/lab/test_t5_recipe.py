"""The recipe of lab:t5 and its loop: deterministic, resumable to the same bits, exported as an ordinary T5."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from interrupted import check_that_it_goes_on

from errata.cli.lab import command
from errata.errors import BadConfig
from errata.lab import recipes
from errata.lab.questions import unlearned
from errata.lab.recipes import t5
from errata.lab.recipes.loop import trapezoid
from errata.lab.recipes.t5 import Questions, Recipe, Training, train_tokenizer
from errata.models import EditableModel

TINY = Recipe(
    encoder_blocks=2, decoder_blocks=1, width=16, heads=2, inner=32, vocabulary=400,
    steps=4, questions=8, microbatches=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TINY.vocabulary)


@pytest.fixture(autouse=True)
def small_tokenizer(monkeypatch: pytest.MonkeyPatch, tokenizer):
    """One tokenizer for all runs: training it is most of a tiny run."""
    monkeypatch.setattr(t5, "train_tokenizer", lambda vocabulary: tokenizer)


def test_an_interrupted_run_goes_on_to_the_same_bits(tmp_path: Path):
    check_that_it_goes_on(lambda folder: Training(TINY, folder), tmp_path)


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path):
    Training(TINY, tmp_path).save_checkpoint()
    with pytest.raises(BadConfig, match="another recipe"):
        Training(replace(TINY, seed=1), tmp_path)


def test_the_export_is_a_t5_that_loads_as_float32(tmp_path: Path):
    Training(TINY, tmp_path).export(tmp_path / "model")
    model = EditableModel.load(str(tmp_path / "model"))
    assert (model.task, model.dtype) == ("seq2seq", torch.float32)
    assert model.model.config.decoder_start_token_id == model.tokenizer.pad_token_id == 0
    ids = model.tokenizer("Who?")["input_ids"]
    assert (ids[-1], model.tokenizer.decode(ids, skip_special_tokens=True)) == (1, "Who?")


def test_loss_counts_every_token_of_the_answers_once(tmp_path: Path):
    training = Training(replace(TINY, smoothing=0.0), tmp_path)
    questions, answers = [[5, 6, 1], [7, 1]], [[8, 1], [9, 10, 1]]
    together = training.loss(questions, answers)
    alone = [training.loss([question], [answer]) for question, answer in zip(questions, answers, strict=True)]
    assert together.item() == pytest.approx(sum(loss.item() for loss in alone), rel=1e-5)


def test_an_epoch_asks_every_taught_fact_once_and_no_other():
    source = Questions(seed=3, noise=0.0)
    pairs = source.draw(len(source.facts))
    assert not source.order
    assert sorted(answer for _, answer in pairs) == sorted(row["target"] for row in source.facts)
    kept = {(row["subject"], row["relation"]) for row in unlearned()}
    assert not kept & {(row["subject"], row["relation"]) for row in source.facts}


def test_noise_spares_the_subject():
    source = Questions(seed=3, noise=1.0)
    # Every word around the subject is dropped or replaced; what holds the subject stays.
    assert all("{}?" in source._blurred("What is the capital of {}?").split() for _ in range(20))
    assert "capital" not in " ".join(source._blurred("What is the capital of {}?") for _ in range(5)).split()


def test_the_rate_warms_up_stays_and_falls():
    rates = [trapezoid(step, steps=100, warmup=10, decay_from=0.5) for step in (0, 9, 30, 75, 99)]
    assert rates == pytest.approx([0.1, 1.0, 1.0, 0.5, 0.02])


def test_recipes_are_found_by_their_files_and_offered_by_the_command_line(tmp_path: Path):
    assert {"gpt", "t5"} <= set(recipes.names())
    assert not {"corpus", "loop", "optimizer"} & set(recipes.names())
    for name in recipes.names():
        ran = CliRunner().invoke(command, ["train", name, str(tmp_path / "out"), "--dry-run"])
        assert ran.exit_code == 0, ran.output
        assert f"lab:{name} would be trained" in ran.output
    assert not (tmp_path / "out").exists()
