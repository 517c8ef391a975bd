"""One call's edits on their way into weights: keys, residuals, their spread over blocks, and what patches remember.

The mechanical part of the locate-then-edit methods. Knows facts, target states and drafts; it solves nothing itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from errata.models import EditableModel
from errata.patches.weights import attached_patches
from errata.solve.draft import Draft
from errata.solve.keys import Facts, read_keys, read_states
from errata.solve.linear import Solution
from errata.solve.postprocess import sphere
from errata.solve.targets import Site, Targets
from errata.statistics import SecondMoment

_KEYS = "keys."


@dataclass(frozen=True)
class Work:
    """One call's edits with all that is known about them, and the draft their updates go to.

    Attributes:
        moments: second moment of keys by block.
        layers: blocks that have target states; `targets` are those.
        past: see `Located._past`.
    """

    model: EditableModel
    facts: Facts
    config: Any
    draft: Draft
    moments: Mapping[int, SecondMoment]
    layers: Sequence[int]
    targets: Sequence[Targets]
    past: Mapping[int, Tensor]

    def name(self, layer: int) -> str:
        """Path of the matrix that is edited in block `layer`."""
        return f"{self.model.arch.matrix(layer, 'mlp_down')}.weight"

    def keys(self, layer: int) -> Tensor:
        """K (d_in, n), with the updates so far in force."""
        return read_keys(self.model, self.facts, layer)

    def update(self, layer: int, solution: Solution) -> None:
        """Write a solution, SPHERE applied to it where that is asked for."""
        A, config = solution.A, self.config
        if config.sphere:
            weight = self.draft.weight(self.name(layer))
            A = sphere(A, weight.to(A), energy=config.energy, strength=config.sphere)
        self.draft.add(self.name(layer), solution.B, A)


def spread(
    work: Work, site: Site, solved: Callable[[int, Tensor, Tensor], Solution], power: float = 1.0
) -> list[dict[str, Any]]:
    """Write one update per block, each for its share of what is then still missing to the targets.

    Block i of L is given 1 / (L - i)^power of the residual; with BLUE every block its own targets and the whole.
    `solved` makes an update of block, keys K (d_in, n) and residuals R (d, n).
    """
    layers = sorted(work.moments)
    told: dict[str, Any] = {}
    for number, layer in enumerate(layers):
        own = work.config.blue or len(layers) == 1
        missing = residuals(work, number if own else -1, site)
        share = 1.0 if own else (len(layers) - number) ** -power
        solution = solved(layer, work.keys(layer), share * missing)
        work.update(layer, solution)
        told[f"update_{layer}"] = float(torch.linalg.norm(solution.B @ solution.A))
        told |= {"warning": solution.warnings[0]} if solution.warnings else {}
    left = residuals(work, -1, site).norm(dim=0) / work.targets[-1].deltas.norm(dim=0)
    return [{**told, "missing": share} for share in left.tolist()]


def residuals(work: Work, number: int, site: Site) -> Tensor:
    """(d, n): how far the states are from the targets `number`, with the updates so far in force."""
    states = read_states(work.model, work.facts, work.layers[number], "block" if site == "block" else "mlp")
    return work.targets[number].states.to(states) - states


def remembered(model: EditableModel, method: str) -> dict[int, Tensor]:
    """Keys (d_in, m) by block that the attached patches of a method edited; those of undone edits are not there."""
    found: dict[int, list[Tensor]] = {}
    for patch in attached_patches(model):
        if patch.method == method:
            for name, keys in patch.memory.items():
                found.setdefault(int(name.removeprefix(_KEYS)), []).append(keys.double().to(model.device))
    return {layer: torch.cat(parts, 1) for layer, parts in found.items()}


def edited_keys(work: Work, layers: Iterable[int]) -> dict[str, Tensor]:
    """The call's keys by block, as the edited model has them, in the form that `remembered` reads."""
    return {f"{_KEYS}{layer}": work.keys(layer) for layer in layers}
