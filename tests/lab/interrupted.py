"""What every recipe promises: a run that was interrupted goes on to the bits of one that was not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from errata.lab.recipes.loop import Run


def check_that_it_goes_on(training: Callable[[Path], Run], folder: Path, steps: int = 2) -> None:
    """Run once in one go and once with a stop after `steps` steps, and compare every weight."""
    for name in ("whole", "parts"):
        (folder / name).mkdir()
    whole = training(folder / "whole")
    untrained = weights(whole)
    whole.run(every=100)
    first = training(folder / "parts")
    for _ in range(steps):
        first.one_step()
    first.save_checkpoint()
    second = training(folder / "parts")
    assert second.step == steps
    second.run(every=100)
    trained, resumed = weights(whole), weights(second)
    for name, tensor in trained.items():
        assert torch.equal(tensor, resumed[name]), name
    assert any(not torch.equal(tensor, untrained[name]) for name, tensor in trained.items())


def weights(run: Run) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
