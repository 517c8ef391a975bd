"""1-LI: fine-tune one layer, and go only part of the way (One-Layer Interpolation, arXiv:2303.00046).

W(a) = (1 - a) W_0 + a W_ft. The layer and a are chosen on validation: the edits and their rephrases against their
locality probes and the loss on general text. What to trade for what was left open; it is `_Validation` here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from errata.edits import GOALS, Edit
from errata.methods._base import Fit, Method, option, register_method
from errata.methods._examples import bounds
from errata.methods._tuned import TuningConfig
from errata.models import EditableModel
from errata.patches.base import Patch
from errata.patches.weights import WeightPatch
from errata.solve.ball import Ball
from errata.solve.descent import Descent, Held, descend
from errata.solve.goals import Aims, aims
from errata.solve.mixing import SHARES, best
from errata.solve.nested import once
from errata.solve.tuning import borrowed

TRIED = 4  # blocks that "auto" tunes, at even distances
WIDE = 10.0  # the ball that measures general text where the user sets none


@register_method("1-li", paper="arXiv:2303.00046", patch="weights", goals=GOALS)
class OneLayerInterpolation(Method):
    """Adam on one MLP down-projection, and the share of its update that validation likes best."""

    @dataclass(frozen=True)
    class Config(TuningConfig):
        layer: Literal["auto"] | int | float = option(
            "auto", "block whose MLP down-projection is tuned: number, fraction of the depth, or the best of four"
        )
        mix: Literal["auto"] | float = option("auto", "share of the update that is taken; by validation, or as given")

    def fit(self, model: EditableModel, edits: Sequence[Edit], previous: Patch | None = None) -> Fit:
        judge = _Validation(model, edits, self.config)
        shares = SHARES if self.config.mix == "auto" else (self.config.mix,)
        found = None
        for layer in self._layers(model):
            # The update is the same for a ball of any size, which it meets by its share.
            about = repr((self.name, layer, dataclasses.replace(self.config, ball=None), [e.to_json() for e in edits]))
            patch, descent = once(about, lambda layer=layer: self._tuned(model, edits, layer))
            chosen = best(model, patch.scaled, judge.score, shares)
            if chosen is not None and (found is None or chosen[0] > found[0]):
                found = (*chosen, layer, descent)
        if found is None:
            why = "no share of any layer's update is inside the ball; widen it or lower the learning rate"
            return Fit(None, {str(edit.id): {"problem": why} for edit in edits})
        score, share, patch, layer, descent = found
        told = {"steps": descent.steps, "layer": layer, "share": share, "score": score}
        return Fit(patch, {str(edit.id): dict(told) for edit in edits})

    def _layers(self, model: EditableModel) -> list[int]:
        if self.config.layer != "auto":
            return [model.layer_of(self.config.layer)]
        last = len(model.arch) - 1
        return sorted({round(place * last / (TRIED - 1)) for place in range(TRIED)})

    def _tuned(self, model: EditableModel, edits: Sequence[Edit], layer: int) -> tuple[WeightPatch, Descent]:
        config = self.config
        with borrowed(model, [f"{model.arch.matrix(layer, 'mlp_down')}.weight"]) as matrices:
            held = bounds(model, dataclasses.replace(config, ball=None), Held())  # the ball is for the share to meet
            descent = descend(
                model, matrices.rates(config.lr), aims(model, edits, config.rows), steps=config.steps,
                enough=config.enough, schedule=config.schedule, **held,
            )  # fmt: skip
            after = matrices.now()
        patch = WeightPatch.from_difference(
            matrices.before, after, method=self.name, config=config.to_json(), edits=[str(e.id) for e in edits]
        )
        return patch, descent


class _Validation:
    """What a state of the model is worth: edits that hold, in other wordings too, and everything else as it was.

    The mean over edits and rephrases of right answers (of examples: how far the loss has fallen, as a share), plus the
    share of locality probes with the answer that the model gave before, less the share by which the loss on general
    text has risen. None outside the ball.
    """

    def __init__(self, model: EditableModel, edits: Sequence[Edit], config: OneLayerInterpolation.Config) -> None:
        self.model = model
        asked = [dataclasses.replace(edit, prompt=text, subject=None, rephrases=()) for edit in edits
                 for text in (edit.prompt, *edit.rephrases)]  # fmt: skip
        self.asked = aims(model, asked, config.rows)
        self.before = [self._losses(part) for part in self.asked]
        probes = list(dict.fromkeys(probe.prompt for edit in edits for probe in edit.locality))
        said = dict(zip(probes, model.generate(probes), strict=True)) if probes else {}
        kept = [Edit(prompt, answer) for prompt, answer in said.items() if answer]
        self.kept = aims(model, kept, config.rows)
        self.bounded = config.ball is not None
        self.ball = Ball.around(model, config.ball or WIDE, config.corpus) if model.task == "causal" else None

    def score(self) -> float | None:
        rise = 0.0
        if self.ball is not None:
            loss = self.ball.loss()
            if self.bounded and not self.ball.holds(loss):
                return None
            rise = max(0.0, loss / self.ball.start - 1)
        return self._held() + self._stayed() - rise

    @torch.no_grad()
    def _held(self) -> float:
        found = []
        for part, before in zip(self.asked, self.before, strict=True):
            hits = self.model.greedy_match(part.batch).tolist()
            for edit, hit, old, new in zip(part.edits, hits, before, self._losses(part), strict=True):
                found.append(float(hit) if edit.goal is None else (old - new) / max(abs(old), 1.0))
        return sum(found) / len(found)

    def _stayed(self) -> float:
        hits = [hit for part in self.kept for hit in self.model.greedy_match(part.batch).tolist()]
        return sum(hits) / len(hits) if hits else 0.0

    @torch.no_grad()
    def _losses(self, part: Aims) -> list[float]:
        with self.model.evaluating():
            return part.losses(self.model).tolist()
