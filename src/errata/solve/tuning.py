"""Tuning whole matrices of a model and taking the difference away; the model gets its own bits back.

Knows matrices by path and the unit in which steps on them are taken. How they are moved is the caller's, and so is what
becomes of the difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from errata.models import EditableModel
from errata.models.hooks import as_matrix


class Borrowed:
    """Matrices of a model, to be moved and given back.

    Attributes:
        parameters: their weights, as the model stores them.
        units: root mean square of each, as it was: a learning rate or a bound in this unit suits any model.
        before: (d_out, d_in) by parameter path, as they were.
    """

    def __init__(self, model: EditableModel, paths: Sequence[str]) -> None:
        self._modules = {f"{path}.weight": model.model.get_submodule(path) for path in paths}
        self.parameters: list[nn.Parameter] = [one.get_parameter("weight") for one in self._modules.values()]
        self.originals: list[Tensor] = [parameter.detach().clone() for parameter in self.parameters]
        self.units = [float(original.float().square().mean().sqrt()) for original in self.originals]
        self.before = self.now()

    def now(self) -> dict[str, Tensor]:
        """Copies as they are now, (d_out, d_in) by parameter path."""
        return {name: as_matrix(module).clone() for name, module in self._modules.items()}

    def rates(self, lr: float) -> dict[nn.Parameter, float]:
        """The learning rate `lr` in each matrix's own unit."""
        return {parameter: lr * unit for parameter, unit in zip(self.parameters, self.units, strict=True)}

    def clamp(self, most: float) -> None:
        """Bring every weight back to at most `most` units from where it was."""
        for parameter, original, unit in zip(self.parameters, self.originals, self.units, strict=True):
            parameter.copy_(original + (parameter - original).clamp(-most * unit, most * unit))


@contextmanager
def borrowed(model: EditableModel, paths: Sequence[str]) -> Iterator[Borrowed]:
    """The matrices of the linear modules at `paths`, to be trained inside; afterwards they have their bits again."""
    with model.preserved():
        matrices = Borrowed(model, paths)
        try:
            yield matrices
        finally:
            with torch.no_grad():
                for parameter, original in zip(matrices.parameters, matrices.originals, strict=True):
                    parameter.copy_(original)
