"""A method for the tests of studies: it adds a number to the logits of its targets' tokens, everywhere and at once.

What that comes to can be worked out by hand: a token of chance q then has e^push q / (1 + (e^push - 1) q).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import pytest
from torch import Tensor, nn

from errata.edits import Edit
from errata.methods._base import METHODS, Fit, Method, MethodConfig, option
from errata.models import EditableModel
from errata.patches.base import Patch

NAME = "pretend"


class Push:
    """As much of a patch as a study needs."""

    def __init__(self, tokens: list[int], push: float) -> None:
        self.tokens, self.push, self.hooks = tokens, push, []

    def attach(self, model: EditableModel) -> None:
        self.hooks.append(model.model.get_submodule("lm_head").register_forward_hook(self._pushed))

    def detach(self, model: EditableModel) -> None:
        self.hooks.pop().remove()

    def header(self) -> dict[str, Any]:
        return {"tokens": self.tokens, "push": self.push}

    def tensors(self) -> dict[str, Tensor]:
        return {}

    def _pushed(self, head: nn.Module, read: Any, logits: Tensor) -> Tensor:
        pushed = logits.clone()
        pushed[..., self.tokens] += self.push
        return pushed


class Pretend(Method):
    """Refuses to lower anything."""

    @dataclass(frozen=True)
    class Config(MethodConfig):
        push: float = option(0.0, "what is added")
        ball: float | None = option(None, "is not kept to")

    def fit(self, model: EditableModel, edits: Sequence[Edit], previous: Patch | None = None) -> Fit:
        encoded = model.encode([edit.prompt for edit in edits], [edit.target for edit in edits], end=False)
        tokens = sorted({token for row in encoded.target_ids for token in row})
        return Fit(cast(Patch, Push(tokens, self.config.push)), {str(edit.id): {"loss": 0.0} for edit in edits})


@contextmanager
def pretending() -> Iterator[str]:
    """The method's name, by which it is known inside."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pretend, "name", NAME, raising=False)
        patch.setattr(Pretend, "meta", {"goals": ("raise", "balance", "contrast")}, raising=False)
        patch.setitem(METHODS._objects, NAME, Pretend)
        yield NAME
