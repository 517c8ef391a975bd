"""The loss ball: states of a model whose loss on general text has hardly risen (Hewitt et al., 2024, arXiv:2402.06155).

A descent in a ball ends at the last state of its path that was inside. Knows general text and parameters; what moves
them is the caller's, and so is what becomes of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from errata.errors import BadConfig
from errata.models import EditableModel
from errata.solve.general import loss_on, stretches

TEXTS = 32  # stretches of general text that a ball looks at
CHECKS = 20  # of a path, so that a ball costs about as many forwards as descents take steps


class Ball:
    """States whose loss on general text is below (1 + epsilon) times what it was when the ball was made.

    Attributes:
        epsilon: the ball's size, such as 1e-4.
        start: the loss then, nats a token.
    """

    def __init__(self, epsilon: float, loss: Callable[[], float]) -> None:
        """`loss` measures the model as it is. Raises: BadConfig (epsilon is not positive)."""
        if not epsilon > 0:
            raise BadConfig(f"a ball of {epsilon} holds no state at all; give a small positive number, such as 1e-4")
        self.epsilon, self.loss = epsilon, loss
        self.start = loss()

    @classmethod
    def around(cls, model: EditableModel, epsilon: float, corpus: str | None = None) -> Ball:
        """The ball around a causal model as it is now, on the first 32 stretches of general text (`stretches`).

        Raises: BadConfig (the model is not causal, the corpus cannot be read).
        """
        text = stretches(model, corpus, TEXTS)
        return cls(epsilon, lambda: loss_on(model, text))

    def holds(self, loss: float) -> bool:
        """Whether a state with this loss on general text is inside."""
        return loss < (1 + self.epsilon) * self.start


class Path:
    """What a descent has gone through, as far as a ball cares: the last state inside."""

    def __init__(self, ball: Ball, parameters: Iterable[Tensor], steps: int) -> None:
        self.ball, self.parameters = ball, list(parameters)
        self.every = max(1, steps // CHECKS)
        self.inside, self.loss, self.taken = self._copies(), ball.start, 0
        self.left: float | None = None  # the loss with which the path first left the ball
        self._looked = 0

    def step(self, taken: int) -> None:
        """Look at the state after `taken` steps, if it is time to."""
        if taken == 1 or taken % self.every == 0:
            self.look(taken)

    def look(self, taken: int) -> None:
        """Keep the state after `taken` steps if it is inside."""
        if taken == self._looked:
            return
        self._looked, loss = taken, self.ball.loss()
        if self.ball.holds(loss):
            self.inside, self.loss, self.taken = self._copies(), loss, taken
        elif self.left is None:
            self.left = loss

    def back(self) -> None:
        """The parameters as they were when last inside."""
        with torch.no_grad():
            for parameter, kept in zip(self.parameters, self.inside, strict=True):
                parameter.copy_(kept)

    def problem(self) -> str | None:
        """Why there is nothing to keep, if there is not."""
        if self.taken or self.left is None:
            return None
        edge = (1 + self.ball.epsilon) * self.ball.start
        return (
            f"nothing fits into the ball: the loss on general text went from {self.ball.start:.6f} to {self.left:.6f}, "
            f"and may go to {edge:.6f}; widen the ball or lower the learning rate"
        )

    def _copies(self) -> list[Tensor]:
        return [parameter.detach().clone() for parameter in self.parameters]
