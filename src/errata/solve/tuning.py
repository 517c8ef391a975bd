"""Tuning whole parameters of a model and taking the difference away; the model gets its own bits back.

Knows parameters by path and the unit in which steps on them are taken. How they are moved is the caller's, and so is
what becomes of the difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from errata.models import EditableModel
from errata.patches.weights import parameter_view


class Borrowed:
    """Parameters of a model, to be moved and given back.

    Attributes:
        parameters: as the model stores them.
        units: root mean square of each, as it was: a learning rate or a bound in this unit suits any model. A parameter
            of zeros (a fresh bias) has the least unit of the others.
        before: by parameter path, as `parameter_view` shows them: matrices (d_out, d_in).
    """

    def __init__(self, model: EditableModel, names: Sequence[str]) -> None:
        self._network, self._names = model.model, list(names)
        self.parameters: list[nn.Parameter] = [self._network.get_parameter(name) for name in self._names]
        self.originals: list[Tensor] = [parameter.detach().clone() for parameter in self.parameters]
        sizes = [float(original.float().square().mean().sqrt()) for original in self.originals]
        least = min((size for size in sizes if size), default=1.0)
        self.units = [size or least for size in sizes]
        self.before = self.now()

    def now(self) -> dict[str, Tensor]:
        """Copies as they are now, by parameter path."""
        return {name: parameter_view(self._network, name).clone() for name in self._names}

    def rates(self, lr: float) -> dict[Tensor, float]:
        """The learning rate `lr` in each parameter's own unit."""
        return {parameter: lr * unit for parameter, unit in zip(self.parameters, self.units, strict=True)}

    def clamp(self, most: float) -> None:
        """Bring every weight back to at most `most` units from where it was."""
        for parameter, original, unit in zip(self.parameters, self.originals, self.units, strict=True):
            parameter.copy_(original + (parameter - original).clamp(-most * unit, most * unit))


@contextmanager
def borrowed(model: EditableModel, names: Sequence[str]) -> Iterator[Borrowed]:
    """The parameters of these names, to be trained inside; afterwards they have their bits again."""
    with model.preserved():
        matrices = Borrowed(model, names)
        try:
            yield matrices
        finally:
            with torch.no_grad():
                for parameter, original in zip(matrices.parameters, matrices.originals, strict=True):
                    parameter.copy_(original)
