"""The two factors of a linear map's gradient: what it reads and how the loss changes with what it writes.

For one row the gradient of the weight (d_out, d_in) is the sum over tokens of gradient times input; the factors are
far smaller than that sum and hold it row by row. Knows modules, batches and losses; what gradients are for is no
concern here, and no weight needs or gets one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from errata.errors import BadModel
from errata.models.hooks import hidden_of
from errata.models.losses import target_loss

if TYPE_CHECKING:
    from errata.models.editable import EditableModel
    from errata.models.encoding import Batch


@dataclass(frozen=True)
class Factors:
    """The gradient of one matrix on B rows of T tokens.

    Attributes:
        inputs: (B, T, d_in), what the matrix read.
        gradients: (B, T, d_out), of each row's own loss by what the matrix wrote.
    """

    inputs: Tensor
    gradients: Tensor

    def __len__(self) -> int:
        return len(self.inputs)

    def tokens(self, row: int) -> tuple[Tensor, Tensor]:
        """Inputs (t, d_in) and gradients (t, d_out) of the row's tokens that have a gradient: padding has none."""
        reached = self.gradients[row].any(1)
        return self.inputs[row, reached], self.gradients[row, reached]

    def matrix(self, row: int) -> Tensor:
        """(d_out, d_in): the gradient of the row's loss by the weight."""
        inputs, gradients = self.tokens(row)
        return gradients.T @ inputs


def gradient_factors(model: EditableModel, batch: Batch, paths: Iterable[str]) -> dict[str, Factors]:
    """The factors of the matrices at `paths`, detached; the loss of a row is its mean cross-entropy (nats a token).

    The model is run once forth and once back, in eval mode and without a gradient by any weight.

    Raises:
        BadModel: a matrix takes no part, or is used more than once a forward.
    """
    return factors_and_logits(model, batch, paths)[0]


def factors_and_logits(model: EditableModel, batch: Batch, paths: Iterable[str]) -> tuple[dict[str, Factors], Tensor]:
    """`gradient_factors`, and the logits (B, S, V) on the way, detached: the last S = `batch.keep` positions."""
    assert batch.gold is not None, "a loss needs targets"
    with model.preserved(), torch.enable_grad(), _watching(model.model, paths) as seen:
        logits = model.forward(batch, keep=batch.keep)
        losses = target_loss(logits, batch.gold)
        for path, calls in seen.items():
            if len(calls) != 1:
                raise BadModel(f"matrix '{path}' runs {len(calls)} times a forward; choose one that runs once")
        outputs = [calls[0][1] for calls in seen.values()]
        gradients = torch.autograd.grad(losses.sum(), outputs, allow_unused=True, materialize_grads=True)
    # Some blocks flatten rows and tokens before their matrices.
    rows = len(batch)
    factors = {
        path: Factors(
            _by_row(calls[0][0].detach(), rows),
            _by_row(gradient, rows),
        )
        for (path, calls), gradient in zip(seen.items(), gradients, strict=True)
    }
    return factors, logits.detach()


def _by_row(tensor: Tensor, rows: int) -> Tensor:
    return tensor.reshape(rows, -1, tensor.shape[-1])


@contextmanager
def _watching(model: nn.Module, paths: Iterable[str]) -> Iterator[dict[str, list[tuple[Tensor, Tensor]]]]:
    """Every call of the modules at `paths`, input and output; the lowest outputs start the graph."""
    seen: dict[str, list[tuple[Tensor, Tensor]]] = {path: [] for path in paths}

    def watch(path: str) -> Any:
        def hook(_module: nn.Module, args: Any, output: Any) -> None:
            written = hidden_of(output)
            if not written.requires_grad:
                written.requires_grad_()
            seen[path].append((args[0], written))

        return hook

    handles = [model.get_submodule(path).register_forward_hook(watch(path)) for path in seen]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
