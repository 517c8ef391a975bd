"""A matrix beside one late down-projection, trained on a call's edits: what `memoir` and `wise` share.

Knows the block, its background, the training and the patch it leaves. Which entries a token reads, and when the matrix
speaks, is each method's own.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from errata.edits import Edit
from errata.errors import BadConfig
from errata.methods._base import Fit, Method, MethodConfig, option
from errata.models import EditableModel
from errata.models.arch import shape
from errata.patches.base import Patch
from errata.patches.memories import Rule
from errata.patches.original import patches_off
from errata.patches.residual import ResidualPatch
from errata.patches.shares import Share
from errata.solve.residuals import Asked, Lesson, Tutor
from errata.solve.templates import contexts
from errata.statistics import Corpus, corpus_for, packaged_prose
from errata.statistics.background import Background, background


@dataclass(frozen=True)
class ResidualConfig(MethodConfig):
    """Where the matrix stands, and how it is trained."""

    layer: int | float = option(0.7, "block beside whose MLP the matrix stands: number, or fraction of the depth")
    lr: float = option(2.0, "rate of descent, in units of typical outputs over typical inputs of the down-projection")
    steps: int = option(30, "most steps for one edit")
    enough: float = option(0.3, "an edit is done when its loss is below this and its target greedy, nats a token")
    contexts: Literal["rome", "memit", "none"] = option("none", "text before the prompt in training")
    corpus: str | None = option(None, "general text: a file or a data set; prose in the package by default")


ROUNDS = 5  # through the edits of a call


@dataclass(frozen=True)
class Bench:
    """What one call works with.

    Attributes:
        layer: the block.
        background: of its down-projection.
        memory: what stands already, in which the call's edits have no part.
        base: the shares of it.
    """

    model: EditableModel
    layer: int
    background: Background
    rule: Any
    memory: Any
    base: Sequence[Share]

    def tutor(self, config: ResidualConfig, matrix: Tensor, unit: float, **more: Any) -> Tutor:
        """A tutor for a matrix (d_out, d_in), in steps as the options say."""
        return Tutor(matrix, config.lr, unit, config.enough, config.steps, ROUNDS, **more)


class Residual(Method):
    """Edits of one call are trained one after another and undone together."""

    Config = ResidualConfig

    @abstractmethod
    def rule(self, model: EditableModel, background: Background) -> Rule:
        """How the memory is read."""

    @abstractmethod
    def tutor(self, bench: Bench) -> Tutor:
        """A tutor for the matrix as it stands."""

    @abstractmethod
    def lesson(self, bench: Bench, asked: Asked, number: int) -> Lesson:
        """What the matrix reads of an edit, the one of this number in the memory."""

    @abstractmethod
    def share(self, bench: Bench, tutor: Tutor, lessons: Sequence[Lesson]) -> Share:
        """What the lessons left."""

    def fit(self, model: EditableModel, edits: Sequence[Edit], previous: Patch | None = None) -> Fit:
        layer = self._layer(model)
        known = background(model, layer, self._text(model))
        standing = self._patch(model, layer, [], self.rule(model, known)) if previous is None else previous
        assert isinstance(standing, ResidualPatch)
        memory, base = standing.memory(model.device), standing.shares
        bench = Bench(model, layer, known, standing.rule, memory, base)
        style = self.config.contexts if model.task == "causal" else "none"
        prefixes = contexts(model, style, self.config.seed).prefixes
        with model.preserved(), patches_off(model, lambda one: one is previous):
            asked = [Asked(model, edit, prefixes, layer, memory.added) for edit in edits]
            first = sum(len(share.edits) for share in base)
            lessons = [self.lesson(bench, one, first + place) for place, one in enumerate(asked)]
            tutor = self.tutor(bench)
            descent = tutor.teach(lessons)
        figures = descent.figures(edits)
        if any(loss != loss for loss in descent.losses):
            return Fit(None, figures)
        patch = self._patch(model, layer, [self.share(bench, tutor, lessons)], standing.rule)
        return Fit(ResidualPatch.extended(previous, patch), figures)

    def extends(self, model: EditableModel, previous: Patch) -> bool:
        layer = self._layer(model)
        known = background(model, layer, self._text(model))
        return previous.slot == self._patch(model, layer, [], self.rule(model, known)).slot

    def _text(self, model: EditableModel) -> Corpus:
        return corpus_for(model, self.config.corpus) if self.config.corpus else packaged_prose()

    def _layer(self, model: EditableModel) -> int:
        layer = _placed(model, self.config.layer)
        if model.task == "seq2seq" and not model.arch.causal(layer):
            raise BadConfig(
                f"block {layer} reads the prompt, and the answer stands elsewhere; choose blocks "
                f"{model.arch.encoder_depth} to {len(model.arch) - 1}"
            )
        return layer

    def _patch(self, model: EditableModel, layer: int, shares: Sequence[Share], rule: Rule) -> ResidualPatch:
        module = model.model.get_submodule(model.arch.matrix(layer, "mlp_down"))
        return ResidualPatch(
            layer, shape(module), shares, rule, method=self.name, config=self.config.to_json(),  # type: ignore[arg-type]
        )


def _placed(model: EditableModel, layer: int | float) -> int:
    """A fraction is one of the blocks that write the answer."""
    blocks = model.arch.stack(len(model.arch) - 1)
    if isinstance(layer, float) and 0 <= layer <= 1:
        return blocks[round(layer * (len(blocks) - 1))]
    return model.layer_of(layer)

