"""Salience is the mean size of a gradient's entries, sample by sample, whatever they are batched with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from errata.edits import Edit, Probe
from errata.errors import BadConfig
from errata.locate import salience as module
from errata.locate.salience import Salience, Sample, salience, samples_of
from errata.models import EditableModel
from errata.models.losses import target_loss
from tiny import tiny_model

SAMPLES = [
    Sample("The capital of France is", "Paris", "fail"),
    Sample("Who", "the book", "fail"),
    Sample("France's capital is", "Paris", "adapt"),
]


def gradients(model: EditableModel, sample: Sample, paths: Sequence[str]) -> list[torch.Tensor]:
    batch = model.encode([sample.prompt], [sample.target])
    assert batch.gold is not None
    weights = [model.model.get_parameter(f"{path}.weight") for path in paths]
    return list(torch.autograd.grad(target_loss(model.forward(batch), batch.gold).sum(), weights))


@pytest.mark.parametrize("name", ["gpt2", "llama", "t5"])
def test_scores_are_those_of_each_sample_alone(name: str) -> None:
    model = tiny_model(name)
    magnitude, root = salience(model, SAMPLES), salience(model, SAMPLES, norm="rms", batch_size=1)
    assert magnitude.scores.shape == root.scores.shape == (3, len(magnitude.matrices))
    paths = [model.arch.matrix(block, role) for block, role in magnitude.matrices]
    for row, sample in enumerate(SAMPLES):
        entries = gradients(model, sample, paths)
        wanted = [float(one.abs().mean()) for one in entries]
        assert magnitude.scores[row].tolist() == pytest.approx(wanted, rel=1e-3)
        wanted = [float(one.square().mean().sqrt()) for one in entries]
        assert root.scores[row].tolist() == pytest.approx(wanted, rel=1e-3)


def test_every_matrix_with_a_role_is_scored() -> None:
    found = salience(tiny_model("llama"), SAMPLES[:1])
    assert found.matrices == [
        (block, role) for block in range(4) for role in ("mlp_up", "mlp_gate", "mlp_down", "attn_out")
    ]


def test_the_model_is_left_as_it_was() -> None:
    model = tiny_model("bert")
    before = model.fingerprint()
    salience(model, [Sample("Is it?", "yes", "fail")])
    assert model.fingerprint() == before
    assert all(weight.grad is None and weight.requires_grad for weight in model.model.parameters())


def test_groups_are_what_the_model_says() -> None:
    model = tiny_model("bert")
    prompts = ["Is it?", "Is Paris a city?", "Who wrote the book?"]
    said = model.generate(prompts)
    other = next(label for label in model.labels if label != said[1])
    edits = [
        Edit(prompts[0], said[0]),
        Edit(
            prompts[1],
            other,
            rephrases=("Paris is a city?",),
            locality=(Probe(prompts[2], said[2]), Probe("Is it right?", None), Probe("Is it?", other)),
        ),
    ]
    assert samples_of(model, edits) == [
        Sample(prompts[0], said[0], "pass"),
        Sample(prompts[1], other, "fail"),
        Sample(prompts[2], said[2], "pass"),
        Sample("Paris is a city?", other, "adapt"),
    ] + ([Sample("Is it?", other, "pass")] if said[0] == other else [])


def test_means_errors_and_groups() -> None:
    scores = torch.tensor([[1.0, 4.0], [3.0, 4.0], [5.0, 1.0]], dtype=torch.float64)
    found = Salience("m", [(0, "mlp_up"), (1, "mlp_down")], SAMPLES, scores, "l1")
    first, second = found.rows()
    assert (first["score"], first["fail"], first["adapt"], first["pass"]) == (3.0, 2.0, 5.0, None)
    assert first["standard_error"] == pytest.approx(2 / 3**0.5)
    assert (second["block"], second["role"], second["score"], second["n"]) == (1, "mlp_down", 3.0, 3)
    assert found.counts() == {"pass": 0, "fail": 2, "adapt": 1}
    assert found.best() == (0, "mlp_up")


def test_it_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, record = tiny_model("gpt2"), tmp_path / "samples.jsonl"
    part = salience(model, SAMPLES[:2], record=record)
    asked: list[int] = []
    real = module.gradient_factors

    def spy(model: EditableModel, batch: object, paths: object) -> object:
        asked.append(len(batch))  # type: ignore[arg-type]
        return real(model, batch, paths)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "gradient_factors", spy)
    whole = salience(model, SAMPLES, record=record)
    assert asked == [1]
    assert torch.equal(whole.scores[:2], part.scores)
    with pytest.raises(BadConfig, match="other work"):
        salience(model, SAMPLES, norm="rms", record=record)


def test_bad_input() -> None:
    model = tiny_model("gpt2")
    with pytest.raises(BadConfig, match="nothing to take gradients of"):
        salience(model, [])
    with pytest.raises(BadConfig, match="'norm' is 'l2'"):
        salience(model, SAMPLES, norm="l2")  # type: ignore[arg-type]
