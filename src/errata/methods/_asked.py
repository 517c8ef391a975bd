"""What methods whose edits are bound to questions have in common: options, the loop over edits, and composing.

Knows edits, batches and patches; what an edit does where its question is asked is each method's own.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from errata.edits import Edit
from errata.methods._base import Fit, Method, MethodConfig, option
from errata.models import EditableModel
from errata.patches.asked import AskedPatch
from errata.patches.base import Patch
from errata.patches.original import patches_off
from errata.progress import Progress
from errata.scope.encoders import installed_encoder

Found = tuple[Edit, Mapping[str, Any], Sequence[Any]]  # an edit, its figures, and its entries


@dataclass(frozen=True)
class AskedConfig(MethodConfig):
    """How questions are compared, and where and how far an answer is brought about."""

    encoder: str = option(
        "auto",
        "what compares questions: words (the model's embeddings), minilm or a directory; auto: the best there",
    )
    layer: Literal["auto"] | int | float = option("auto", "block that is changed; auto: the last")
    confidence: float = option(0.99, "probability that each token of the answer gets, from 0.5 to below 1")
    rephrases: bool = option(False, "also bind an edit's own rephrases; benchmarks ask these: off by default")


class AskedMethod(Method):
    """A method that leaves an `AskedPatch`. Its config has `batch_size` too, edits that are solved together."""

    def settled(self, model: EditableModel) -> Any:
        encoder = installed_encoder() if self.config.encoder == "auto" else self.config.encoder
        return dataclasses.replace(self.config, encoder=encoder, layer=self._layer(model))

    def fit(self, model: EditableModel, edits: Sequence[Edit], previous: Patch | None = None) -> Fit:
        layer = self._layer(model)
        figures: dict[str, Mapping[str, Any]] = {}
        entries: list[Any] = []
        # Prompts of like length waste little padding when they are read together.
        ordered = sorted(edits, key=lambda edit: len(edit.prompt) + len(edit.target))
        size = self.config.batch_size
        parts = len(ordered) > size  # of a single part the caller's own bar tells enough
        bar = (model.progress if parts else Progress()).bar("finding answers", len(ordered), "edit")
        # Where one of these patches answers a question another does not, so that each is found as if it were alone.
        with model.preserved(), patches_off(model, lambda one: isinstance(one, AskedPatch)), bar as shown:
            for start in range(0, len(ordered), size):
                part = ordered[start : start + size]
                for edit, told, found in self._solve(model, layer, part):
                    figures[str(edit.id)] = told
                    entries += found
                shown.update(len(part))
        if not entries:
            return Fit(previous, figures)
        place = {str(edit.id): number for number, edit in enumerate(edits)}
        entries.sort(key=lambda entry: place[entry.edit])
        new = self._patch(model, entries, list(dict.fromkeys(entry.edit for entry in entries)))
        return Fit(type(new).extended(previous, new), figures)

    def extends(self, model: EditableModel, previous: Patch) -> bool:
        return previous.slot == self._patch(model, (), ()).slot

    def _layer(self, model: EditableModel) -> int:
        return len(model.arch) - 1 if self.config.layer == "auto" else model.layer_of(self.config.layer)

    def _prompts(self, edit: Edit) -> tuple[str, ...]:
        """Return what an edit is bound to."""
        return (edit.prompt, *(edit.rephrases if self.config.rephrases else ()))

    @abstractmethod
    def _solve(self, model: EditableModel, layer: int, edits: Sequence[Edit]) -> list[Found]:
        """Solve some edits. One whose figures tell a "problem" has no entries."""

    @abstractmethod
    def _patch(self, model: EditableModel, entries: Sequence[Any], edits: Sequence[str]) -> AskedPatch[Any]:
        """Make a patch of entries; of none, it tells which others it can be joined with."""
