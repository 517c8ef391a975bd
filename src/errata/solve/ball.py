"""The loss ball: states of a model whose loss on general text has hardly risen (Hewitt et al., 2024, arXiv:2402.06155).

A descent in a ball ends at the last state of its path that was inside. Knows general text and parameters; what moves
them is the caller's, and so is what becomes of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

import torch
from torch import Tensor

from errata.errors import BadConfig
from errata.models import EditableModel
from errata.solve import nested
from errata.solve.general import Prose, stretches

TEXTS = 32  # stretches of general text that a ball looks at
CHECKS = 20  # of a path, so that a ball costs about as many forwards as descents take steps


class Text(Protocol):
    """General text as `Prose` is; others may know a shorter way to the loss."""

    @property
    def start(self) -> float: ...

    def loss(self, limit: float = math.inf) -> float:
        """As `Prose.loss`."""
        ...


class Ball:
    """States whose loss on general text is below (1 + epsilon) times what it was when the ball was made.

    Attributes:
        epsilon: the ball's size, such as 1e-4.
        start: the loss then, nats a token.
    """

    def __init__(self, epsilon: float, text: Text) -> None:
        """Raises: BadConfig (epsilon is not positive)."""
        if not epsilon > 0:
            raise BadConfig(f"a ball of {epsilon} holds no state at all; give a small positive number, such as 1e-4")
        self.epsilon, self.text, self.start = epsilon, text, text.start

    @classmethod
    def around(cls, model: EditableModel, epsilon: float, corpus: str | None = None) -> Ball:
        """The ball around a causal model as it is now, on the first 32 stretches of general text (`stretches`).

        Raises: BadConfig (the model is not causal, the corpus cannot be read).
        """
        return cls(epsilon, Prose(model, stretches(model, corpus, TEXTS)))

    @property
    def edge(self) -> float:
        """The loss that the states inside are below."""
        return (1 + self.epsilon) * self.start

    def loss(self, limit: float = math.inf) -> float:
        """The loss of the model as it is now; an estimate where it is above `limit` beyond doubt."""
        return self.text.loss(limit)

    def holds(self, loss: float) -> bool:
        """Whether a state with this loss on general text is inside."""
        return loss < self.edge


@dataclass
class _Kept:
    """The last state of a path inside one ball: its parameters, loss and step; and the loss when the path left."""

    state: list[Tensor]
    loss: float
    taken: int = 0
    left: float | None = None


class Path:
    """What a descent has gone through, as far as a ball cares: the last state inside.

    Attributes:
        loss, taken: of the state that `back` returns to: its loss on general text, and after how many steps it was.
        walked: whether the same descent was walked before, in another ball (`nested`), and need not be again.
    """

    def __init__(self, ball: Ball, parameters: Iterable[Tensor], steps: int, about: str) -> None:
        """`about` says all that the path depends on, besides where it starts."""
        self.ball, self.parameters = ball, list(parameters)
        self.every = max(1, steps // CHECKS)
        self._looked = 0
        if not (others := nested.sizes()):
            self.walked, self._kept = False, self._start(ball.epsilon)
            return
        self.walked = True

        def begin() -> dict[float, _Kept]:
            self.walked = False
            return self._start(ball.epsilon, *others)

        self._kept = nested.once(self._name(about), begin)

    @property
    def loss(self) -> float:
        return self._kept[self.ball.epsilon].loss

    @property
    def taken(self) -> int:
        return self._kept[self.ball.epsilon].taken

    def step(self, taken: int) -> None:
        """Look at the state after `taken` steps, if it is time to."""
        if taken == 1 or taken % self.every == 0:
            self.look(taken)

    def look(self, taken: int) -> None:
        """Keep the state after `taken` steps if it is inside."""
        if taken == self._looked:
            return
        self._looked, loss = taken, self.ball.loss((1 + max(self._kept)) * self.ball.start)
        state: list[Tensor] | None = None
        for size, kept in self._kept.items():
            if loss < (1 + size) * self.ball.start:
                state = state or self._copies()
                kept.state, kept.loss, kept.taken = state, loss, taken
            elif kept.left is None:
                kept.left = loss

    def back(self) -> None:
        """The parameters as they were when last inside."""
        with torch.no_grad():
            for parameter, kept in zip(self.parameters, self._kept[self.ball.epsilon].state, strict=True):
                parameter.copy_(kept)

    def problem(self) -> str | None:
        """Why there is nothing to keep, if there is not."""
        left = self._kept[self.ball.epsilon].left
        if self.taken or left is None:
            return None
        return (
            f"nothing fits into the ball: the loss on general text went from {self.ball.start:.6f} to {left:.6f}, "
            f"and may go to {self.ball.edge:.6f}; widen the ball or lower the learning rate"
        )

    def _start(self, *sizes: float) -> dict[float, _Kept]:
        state = self._copies()
        return {size: _Kept(state, self.ball.start) for size in sizes}

    def _copies(self) -> list[Tensor]:
        return [parameter.detach().clone() for parameter in self.parameters]

    def _name(self, about: str) -> str:
        """Of the path that starts here."""
        digest = sha256(about.encode())
        for parameter in self.parameters:
            digest.update(parameter.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()
