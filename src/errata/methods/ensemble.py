"""The ensemble (Hewitt et al., 2024): a small model is edited, a big one of its vocabulary hears what that changed.

    logits = logits_big + beta * (log p_edited - log p_original),    p: of the small model

A small model is cheap to edit, and a Backpack easy to edit well; not a weight of the big model moves. What was edited
is a sheet of the small model, whose edits in force are carried over as they are, or it is edited here, by any method.
With beta "auto" it is the largest of 1.0, 0.9, … 0.1 with which the big model stays in the ball.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from errata.edits import GOALS, Edit
from errata.errors import BadConfig, BadModel
from errata.methods._base import Fit, Method, MethodConfig, create, option, register_method
from errata.models import EditableModel
from errata.patches.base import Patch, in_force
from errata.patches.correcting import shared_ids
from errata.patches.logits import LogitsPatch
from errata.patches.small import causal
from errata.registry import resolve_lender
from errata.solve.ball import Ball
from errata.solve.mixing import TENTHS, largest_inside

NOT_LENT = "no such edit is in force on the small model's sheet; make it there first"


@dataclass(frozen=True)
class Carried:
    """A small model without patches, its patches, the id there of each edit, and what was measured, by id here."""

    model: EditableModel
    patches: Sequence[Patch]
    ids: Mapping[str, str]
    figures: Mapping[str, Mapping[str, Any]]


@register_method("ensemble", paper="arXiv:2402.06155", patch="logits", tasks=("causal",), goals=GOALS)
class Ensemble(Method):
    """What edits change in a small model's log-probabilities, added to a big model's logits."""

    @dataclass(frozen=True)
    class Config(MethodConfig):
        small: str = option("", "the small model: a name of `errata models`, a path or hub id; by default the sheet's")
        sheet: str = option("", "the small model's sheet, whose edits in force are carried over")
        by: str = option("sense", "without a sheet: the method that edits the small model")
        settings: str = option("", "without a sheet: options of that method, such as lr=0.03,steps=50")
        beta: float | Literal["auto"] = option("auto", "how strongly it is heard: above 0, at most 1; auto: see ball")
        ball: float = option(
            1e-4, "for auto: the strongest with which the loss on general text stays below (1 + ball) times what it was"
        )
        corpus: str | None = option(None, "general text of the ball: a file or a data set; else packaged prose")

    def __init__(self, config: MethodConfig | None = None) -> None:
        super().__init__(config)
        given = {name: getattr(self.config, name) for name in ("small", "sheet")}
        # A sheet records the options, and may be opened from anywhere.
        places = {name: str(Path(place).resolve()) for name, place in given.items() if place and Path(place).exists()}
        self.config = dataclasses.replace(self.config, **places)
        if self.config.beta != "auto" and not 0 < self.config.beta <= 1:
            raise BadConfig(f"option 'beta' is {self.config.beta}; give auto, or a number above 0 and at most 1")
        if not self.config.ball > 0:
            raise BadConfig(f"option 'ball' is {self.config.ball}; give a small positive number, such as 1e-4")

    def fit(self, model: EditableModel, edits: Sequence[Edit], previous: Patch | None = None) -> Fit:
        if model.task != "causal":
            raise BadModel(
                f"'{self.name}' edits models that write on from a prompt, and {model.name} is {model.task}; use "
                "another method (`errata methods`)"
            )
        carried = self._lent(model, edits) if self.config.sheet else self._edited(model, edits)
        if not carried.patches:
            return Fit(None, carried.figures)
        made = [edit for edit in edits if str(edit.id) in carried.ids]
        patch = LogitsPatch.of(
            carried.model, carried.patches, 1.0 if self.config.beta == "auto" else self.config.beta,
            method=self.name, config=self.config.to_json(), edits=[str(edit.id) for edit in made],
            ids=[carried.ids[str(edit.id)] for edit in made],
        )  # fmt: skip
        return self._heard(model, patch, carried.figures)

    def _heard(self, model: EditableModel, patch: LogitsPatch, figures: Mapping[str, Mapping[str, Any]]) -> Fit:
        """As strongly as it may be; no patch where the least is too much."""
        told: dict[str, Any] = {"beta": patch.beta}
        heard: LogitsPatch | None = patch
        if self.config.beta == "auto":
            ball = Ball.around(model, self.config.ball, self.config.corpus)
            found = largest_inside(model, patch.at, ball, TENTHS)
            told = {"beta": found.share, "general": found.loss, "general_before": ball.start}
            heard = found.patch
            if heard is None:
                told["problem"] = (
                    f"nothing fits into the ball of {ball.epsilon:g}: with a beta of 0.1 the loss on general text goes "
                    f"from {ball.start:.6f} to {found.loss:.6f}; widen the ball or edit the small model more gently"
                )
        added = {id: {**figures.get(id, {}), **told} for id in patch.edits}
        return Fit(heard, {**figures, **added})

    def _lent(self, model: EditableModel, edits: Sequence[Edit]) -> Carried:
        """What the small model's sheet has of these edits."""
        loan = resolve_lender()(self.config.sheet, self.config.small or None, {edit.topic for edit in edits})
        shared_ids(model, causal(loan.model))
        ids = {str(edit.id): loan.ids[edit.topic] for edit in edits if edit.topic in loan.ids}
        missing = {str(edit.id): {"problem": NOT_LENT} for edit in edits if edit.topic not in loan.ids}
        return Carried(_on(loan.model, model), loan.patches, ids, missing)

    def _edited(self, model: EditableModel, edits: Sequence[Edit]) -> Carried:
        """The small model edited here and now."""
        if not self.config.small:
            raise BadConfig(
                f"'{self.name}' needs a small model, or the sheet of one; give --small MODEL or --sheet DIR of its own"
            )
        maker = create(self.config.by, _settings(self.config.settings))
        maker.check(edits)
        small = causal(EditableModel.load(self.config.small, device=model.device))
        shared_ids(model, small)
        with _as_heard(model, small):
            fit = maker.fit(small, edits)
        ids = {str(edit.id): str(edit.id) for edit in edits} if fit.patch else {}
        return Carried(small, [fit.patch] if fit.patch else [], ids, fit.figures)


@contextmanager
def _as_heard(model: EditableModel, small: EditableModel) -> Iterator[None]:
    """Inside, the small model has the patches under which the big one hears it already: edits go on top of these."""
    fingerprint = small.fingerprint()
    heard = [patch for patch in in_force(model) if isinstance(patch, LogitsPatch)]
    parts = [part for patch in heard if patch.small["fingerprint"] == fingerprint for part in patch.patches]
    copies = [type(part).from_parts(part.header(), part.tensors()) for part in parts]
    for part in copies:
        part.attach(small)
    try:
        yield
    finally:
        for part in copies:
            part.detach(small)


def _on(small: EditableModel, model: EditableModel) -> EditableModel:
    """The small model where the big one is."""
    small.model.to(model.device)  # type: ignore[arg-type]
    return small


def _settings(text: str) -> dict[str, str]:
    """name=value,name=value. Raises BadConfig."""
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    if wrong := next((name for name, equals, _ in pairs if not equals), None):
        raise BadConfig(f"option 'settings' holds {wrong!r}; write options of the method as lr=0.03,steps=50")
    return {name.strip(): value.strip() for name, _, value in pairs}
