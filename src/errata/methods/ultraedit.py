"""UltraEdit: lifelong editing without training, subjects or a memory of edits (Gu et al., 2025). One solve a matrix.

The gradient of every token that is scored says where its matrix's output should go, normalised by what the whole stream
of edits looked like; least squares turn that into an update. Statistics of the stream are kept in the patches, each its
own call's, so an edit that is undone takes its part of them along. Published as one step (`steps=1`); further steps ask
again, with the same keys, for what is still missing. Unlike the published code, the end token is part of the target.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from errata.edits import Edit
from errata.errors import BadConfig
from errata.methods._base import Fit, Method, MethodConfig, option, register_method
from errata.methods._published import published
from errata.methods._sites import parse_matrices
from errata.models import Batch, EditableModel
from errata.models.factors import factors_and_logits
from errata.models.losses import IGNORED, margin, target_loss
from errata.patches.base import Patch
from errata.patches.weights import WeightPatch, attached_patches
from errata.solve.descent import batches
from errata.solve.draft import Draft
from errata.solve.lifelong import Moments
from errata.solve.linear import solve
from errata.solve.preserving import Prior

# Errata's own defaults, tuned on lab:gpt.
_OWN: dict[str, Any] = {"unit": "state", "rate": 0.1, "ridge": 0.1, "steps": 60, "prior": 100.0}
_FROM, _TO = 0.55, 0.7  # of the depth of the blocks that carry the answer, where "auto" edits down-projections


@register_method("ultraedit", paper="arXiv:2505.14679", patch="weights")
class UltraEdit(Method):
    """Least squares on normalised gradients, for all edits of a call at once."""

    @dataclass(frozen=True)
    class Config(MethodConfig):
        """Options; "auto" is what was published for a well-known model, else Errata's own default."""

        matrices: str = option("auto", 'edited MLP matrices, such as "down 5", "gate 11-15, up 18-24" or "up 0.5"')
        rate: Literal["auto"] | float = option("auto", "how far a token's output is asked to move in a step, in `unit`")
        unit: Literal["auto", "state", "absolute"] = option(
            "auto", "what rate and ridge are measured in: typical outputs and keys of the matrix, or absolute numbers"
        )
        ridge: Literal["auto"] | float = option("auto", "weight of the update's squared norm, in `unit`")
        steps: Literal["auto"] | int = option("auto", "most steps: passes over the edits; 1 as published")
        enough: float = option(0.3, "after the first step: an edit with a loss below this is left alone, nats a token")
        prior: Literal["auto"] | float = option(
            "auto", "imagined tokens of average spread beside the stream's statistics; 0 as published"
        )
        rows: int = option(64, "edits in one forward")

    def fit(self, model: EditableModel, edits: Sequence[Edit], previous: Patch | None = None) -> Fit:
        config = self.settled(model)
        paths = _paths(model, config.matrices)
        work = batches(model, edits, config.rows)
        with model.preserved(), Draft(model) as draft:
            tokens = _read(model, work, paths)
            systems = [_System.of(path, tokens, self._past(model, path), draft, config) for path in paths]
            steps, wanting = 0, torch.ones_like(tokens.losses, dtype=torch.bool)
            while wanting.any() and tokens.losses.isfinite().all():
                for system in systems:
                    system.ask(draft, tokens.gradients[system.path], wanting[tokens.owners])
                steps += 1
                if steps >= config.steps:
                    break
                tokens = _read(model, work, paths)
                wanting = (tokens.losses >= config.enough) | (tokens.leads <= 0)
            deltas = draft.deltas()
        memory = [system.seen.tensors(system.path) for system in systems]
        patch = WeightPatch(
            deltas, method=self.name, config=self.config.to_json(), edits=[str(edit.id) for edit in edits],
            memory={name: tensor for one in memory for name, tensor in one.items()},
        )  # fmt: skip
        return Fit(patch, _figures(edits, steps, tokens.losses.tolist()))

    def settled(self, model: EditableModel) -> Any:
        """The config with every "auto" made a value: a published one, else Errata's own."""
        values = {"matrices": _usual(model), **_OWN, **published("ultraedit", model)}
        chosen = {name: value for name, value in values.items() if getattr(self.config, name) == "auto"}
        return dataclasses.replace(self.config, **chosen)

    def _past(self, model: EditableModel, path: str) -> list[Moments]:
        """What this method's patches in force saw at a matrix."""
        ours = [patch for patch in attached_patches(model) if patch.method == self.name]
        found = [Moments.from_tensors(patch.memory, path) for patch in ours]
        return [moments.to(model.device) for moments in found if moments is not None]


def _usual(model: EditableModel) -> str:
    """What is edited in a model for which nothing was published."""
    blocks = model.arch.stack(len(model.arch) - 1)
    first, last = (blocks[round(share * (len(blocks) - 1))] for share in (_FROM, _TO))
    return f"down {first}-{last}"


def _paths(model: EditableModel, text: str) -> list[str]:
    """Module paths of the matrices to edit. Raises BadConfig, also where a block reads a prompt for a decoder."""
    found = parse_matrices(model, text)
    for layer in found.values() if model.task == "seq2seq" else ():
        if not model.arch.causal(layer):
            raise BadConfig(
                f"block {layer} reads the prompt, and the answer stands elsewhere; choose blocks "
                f"{model.arch.encoder_depth} to {len(model.arch) - 1}"
            )
    return list(found)


@dataclass(frozen=True)
class _Tokens:
    """The n scored tokens of a call.

    Attributes:
        owners: (n,) the edit of each.
        inputs, gradients: (n, d_in) and (n, d_out) by matrix; the gradient is that of a row's summed cross-entropy.
        losses, leads: of each edit, see `target_loss` and `margin`.
    """

    owners: Tensor
    inputs: Mapping[str, Tensor]
    gradients: Mapping[str, Tensor]
    losses: Tensor
    leads: Tensor


def _read(model: EditableModel, work: Sequence[Batch], paths: Sequence[str]) -> _Tokens:
    """One forward and one backward over the edits."""
    found = [_read_batch(model, batch, paths) for batch in work]
    starts = torch.tensor([len(one.losses) for one in found]).cumsum(0).tolist()
    return _Tokens(
        torch.cat([one.owners + start for one, start in zip(found, [0, *starts], strict=False)]),
        {path: torch.cat([one.inputs[path] for one in found]) for path in paths},
        {path: torch.cat([one.gradients[path] for one in found]) for path in paths},
        torch.cat([one.losses for one in found]),
        torch.cat([one.leads for one in found]),
    )


def _read_batch(model: EditableModel, batch: Batch, paths: Sequence[str]) -> _Tokens:
    assert batch.gold is not None
    factors, logits = factors_and_logits(model, batch, paths)
    if model.task == "classification":
        rows, columns = torch.arange(len(batch), device=batch.query.device), batch.query
    else:
        rows, columns = (batch.gold != IGNORED).nonzero(as_tuple=True)
    sizes = torch.bincount(rows, minlength=len(batch))[rows][:, None]
    return _Tokens(
        rows,
        {path: one.inputs[rows, columns].float() for path, one in factors.items()},
        {path: one.gradients[rows, columns].float() * sizes for path, one in factors.items()},
        target_loss(logits, batch.gold),
        margin(logits, batch.gold),
    )


@dataclass
class _System:
    """One matrix: the keys of a call, the least squares over them, and what was asked of them so far.

    Attributes:
        path: of the matrix.
        seen: what this call adds to the stream's statistics of [key; gradient].
        written: (d_out,) statistics of gradients over the whole stream.
        A: (n, d_in), which turns what is asked into an update: V^T A.
        rates: (n,) how far a token's output goes along its normalised gradient.
        asked: V (n, d_out).
    """

    path: str
    seen: Moments
    written: Moments
    A: Tensor
    rates: Tensor
    prior: float
    asked: Tensor

    @classmethod
    def of(cls, path: str, tokens: _Tokens, past: Sequence[Moments], draft: Draft, config: Any) -> _System:
        keys, gradients = tokens.inputs[path], tokens.gradients[path]
        seen = Moments.of(torch.cat([keys, gradients], 1))
        stream, width = Moments.merged([*past, seen]), keys.shape[1]
        rate, ridge = config.rate, config.ridge
        if config.unit == "state":
            output = keys @ draft.weight(f"{path}.weight").float().T
            rate *= float(output.square().mean().sqrt()) / width
            ridge *= float(keys.square().sum(1).mean())
        rates = rate * stream.part(slice(width)).normalised(keys, config.prior).square().sum(1)
        A = solve(keys.T, gradients.T, prior=Prior(), ridge=ridge).A
        written = stream.part(slice(width, None))
        return cls(path, seen, written, A, rates, config.prior, torch.zeros_like(gradients, dtype=A.dtype))

    def ask(self, draft: Draft, gradients: Tensor, wanting: Tensor) -> None:
        """Let the outputs of the tokens that are `wanting` (n,) move against their gradients, and write the update."""
        moves = self.rates[:, None] * self.written.normalised(gradients, self.prior)
        self.asked -= (moves * wanting[:, None]).to(self.asked)
        draft.replace_factors(f"{self.path}.weight", self.asked.T, self.A)


def _figures(edits: Sequence[Edit], steps: int, losses: Sequence[float]) -> dict[str, dict[str, Any]]:
    """Steps, and each edit's loss when it was last read: before the last step if that was the last one allowed."""
    table: dict[str, dict[str, Any]] = {}
    for edit, loss in zip(edits, losses, strict=True):
        table[str(edit.id)] = {"steps": steps, "loss": loss}
        if loss != loss:
            table[str(edit.id)]["problem"] = f"the loss became NaN after {steps} steps; lower the rate"
    return table
