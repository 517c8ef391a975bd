"""The loop around a recipe: optimisers, a schedule, checkpoints to go on from, and the export of an ordinary model.

Knows models, optimisers and files; nothing of what is learned or how it is scored.
"""

from __future__ import annotations

import json
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from errata.errors import BadConfig
from errata.lab.recipes.optimizer import Muon


class Source(Protocol):
    """What training rows are drawn from: its generator, and the facts still to come in this epoch."""

    rng: random.Random
    order: list[int]


class Rates(Protocol):
    """The part of a recipe (a dataclass) that the loop reads."""

    @property
    def steps(self) -> int: ...
    @property
    def lr_matrices(self) -> float: ...
    @property
    def lr_others(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def warmup(self) -> int: ...
    @property
    def decay_from(self) -> float: ...


def trapezoid(step: int, steps: int, warmup: int, decay_from: float) -> float:
    """Share of the full learning rate: warm up, stay, and from a share `decay_from` of the steps fall to zero."""
    if step < warmup:
        return (step + 1) / warmup
    start = decay_from * steps
    return 1.0 if step < start else max(0.0, (steps - step) / (steps - start))


def microbatches(rows: Sequence[Any], count: int) -> Iterator[Sequence[Any]]:
    """At most `count` stretches of the rows, one as long as another but for the last."""
    size = -(-len(rows) // count)
    return (rows[start : start + size] for start in range(0, len(rows), size))


class Run(ABC):
    """One run of a recipe in one directory: its model, optimisers, source of rows and the step it has reached.

    `block` says of a parameter's name whether it lies in a block; matrices that do are trained by Muon.

    Raises:
        BadConfig: the directory holds a checkpoint of another recipe.
    """

    name: str
    description: str
    task: str

    def __init__(
        self,
        recipe: Rates,
        out: Path,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerFast,
        source: Source,
        block: Callable[[str], bool],
    ) -> None:
        self.out, self.model, self.tokenizer, self.source = out, model, tokenizer, source
        self._recipe = recipe
        named = list(model.named_parameters())
        matrices = [p for n, p in named if block(n) and p.ndim == 2]
        others = [p for n, p in named if not (block(n) and p.ndim == 2)]
        self.optimizers: list[torch.optim.Optimizer] = [
            Muon(matrices, lr=recipe.lr_matrices, weight_decay=recipe.weight_decay),
            torch.optim.AdamW(others, lr=recipe.lr_others, betas=(0.9, 0.98), weight_decay=0.01),
        ]
        self.step = 0
        self._resume()

    @abstractmethod
    def backward(self) -> Mapping[str, float]:
        """Leave the gradients of one step in the parameters; returns losses for the progress bar."""

    @property
    def checkpoint(self) -> Path:
        return self.out / "checkpoint.pt"

    def _resume(self) -> None:
        if not self.checkpoint.exists():
            return
        saved = torch.load(self.checkpoint, weights_only=True)
        if saved["recipe"] != asdict(self._recipe):  # type: ignore[call-overload]
            raise BadConfig(f"{self.checkpoint} is of another recipe; choose an empty directory")
        self.model.load_state_dict(saved["model"])
        for optimizer, state in zip(self.optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self.step, self.source.order = saved["step"], saved["order"]
        version, words, gauss = saved["random"]
        self.source.rng.setstate((version, tuple(words), gauss))

    def save_checkpoint(self) -> None:
        """Written beside and renamed, so that an interrupted write leaves the last good one."""
        state = {
            "recipe": asdict(self._recipe), "step": self.step, "model": self.model.state_dict(),  # type: ignore[call-overload]
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "random": self.source.rng.getstate(), "order": self.source.order,
        }  # fmt: skip
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        partial.rename(self.checkpoint)

    def rate(self) -> float:
        """Share of the full learning rate at this step."""
        recipe = self._recipe
        return trapezoid(self.step, recipe.steps, recipe.warmup, recipe.decay_from)

    def one_step(self) -> Mapping[str, float]:
        """One optimiser step."""
        losses = self.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer, base in zip(
            self.optimizers, (self._recipe.lr_matrices, self._recipe.lr_others), strict=True
        ):
            optimizer.param_groups[0]["lr"] = base * self.rate()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return losses

    def run(self, every: int = 50) -> None:
        """Train to the end of the recipe, with a checkpoint every so many steps."""
        self.model.train()
        total = self._recipe.steps
        with tqdm(total=total, initial=self.step, unit="step", desc=f"lab:{self.name}") as bar:
            while self.step < total:
                losses = self.one_step()
                bar.set_postfix({name: f"{loss:.3f}" for name, loss in losses.items()})
                bar.update()
                if self.step % every == 0 or self.step == total:
                    self.save_checkpoint()

    def export(self, path: Path) -> None:
        """An ordinary checkpoint: float16 weights, and a configuration that loads them as float32."""
        model = type(self.model)(self.model.config)
        model.load_state_dict(self.model.state_dict())
        model.half().save_pretrained(path)
        model.config.dtype = torch.float32
        model.config.save_pretrained(path)
        self.tokenizer.save_pretrained(path)
        card: dict[str, Any] = {
            "task": self.task, "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "description": self.description,
        }  # fmt: skip
        (path / "lab.json").write_text(json.dumps(card, indent=2) + "\n")
