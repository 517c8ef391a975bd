"""Rewriting matrices by a hypernetwork: gradients of the edits in, low-rank updates out, and how that is trained.

What MEND and SaLEM share. The model is never copied: an update acts, and is differentiated, through hooks on the
matrices alone. Knows models, lessons and the network; which matrices, and what of a gradient the network sees, is the
method's own.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from errata.edits import Edit
from errata.errors import WrongModel
from errata.learn.course import Course
from errata.learn.hypernetwork import Hypernetwork, Site
from errata.learn.lessons import Lesson, Lessons
from errata.learn.objective import Asked, averaged, divergence, kept, log_chances, right, wanted
from errata.models import Batch, EditableModel
from errata.models.arch import Linear
from errata.models.factors import Factors, gradient_factors
from errata.models.hooks import added, as_matrix, capture
from errata.models.losses import IGNORED, target_loss

Pairs = tuple[Tensor, Tensor]
"""Inputs (n, d_in) and output gradients (n, d_out) of one matrix, float32."""
Read = Callable[[Factors], Pairs]
"""What the network sees of the gradients of a batch of edits."""
Updates = Mapping[str, tuple[Tensor, Tensor]]
"""By module path the factors B (d_out, n) and A (n, d_in) of what is added to the matrix."""

_WARM = 32  # batches whose gradients the statistics start from


def site(model: EditableModel, path: str) -> Site:
    """The matrix of the linear module at `path`.

    Its unit is the root mean square of the weights by the root of d_in: an update of that size, made by a token with
    inputs of deviation one, changes what the matrix writes for this token by as much as it usually writes.
    """
    matrix = as_matrix(model.model.get_submodule(path)).float()
    d_out, d_in = matrix.shape
    return Site(path, d_out, d_in, float(matrix.square().mean().sqrt()) / d_in**0.5)


def sites_told(sites: Sequence[Site]) -> list[dict[str, Any]]:
    """The matrices as JSON."""
    return [asdict(one) for one in sites]


def sites_of(told: Sequence[Mapping[str, Any]], model: EditableModel) -> list[Site]:
    """Inverse of `sites_told`.

    Raises:
        WrongModel: the model has no such matrix, or one of another shape.
    """
    sites = [Site(**one) for one in told]
    for one in sites:
        try:
            module = model.model.get_submodule(one.path)
        except AttributeError:
            module = None
        if not isinstance(module, Linear) or as_matrix(module).shape != (one.d_out, one.d_in):
            raise WrongModel(
                f"the editor is for a matrix '{one.path}' of shape {one.d_out} x {one.d_in}, which {model.name} does "
                "not have; train one for this model"
            )
    return sites


def every_token(factors: Factors) -> Pairs:
    """Every token of every row that has a gradient."""
    found = [factors.tokens(row) for row in range(len(factors))]
    return torch.cat([x for x, _ in found]).float(), torch.cat([g for _, g in found]).float()


def real_tokens(model: EditableModel, path: str, batch: Batch) -> Tensor:
    """(B, T) bool: the tokens that are no padding, of the sequence that the module at `path` reads."""
    block = next(number for number, name in enumerate(model.arch.blocks) if path.startswith(f"{name}."))
    if model.task == "seq2seq" and block >= model.arch.encoder_depth:
        assert batch.gold is not None
        return batch.gold != IGNORED
    return batch.attention_mask.bool()


def rewritten(model: EditableModel, updates: Updates) -> AbstractContextManager[None]:
    """Inside, the model computes with the updates added to its matrices; gradients reach them."""

    def part(B: Tensor, A: Tensor) -> Callable[[Tensor], Tensor]:
        return lambda inputs: inputs @ A.T @ B.T

    return added(model.model, {path: part(B, A) for path, (B, A) in updates.items()})


@dataclass(frozen=True)
class Rewriter:
    """A model, a network for some of its matrices, and what the network reads."""

    model: EditableModel
    network: Hypernetwork
    read: Read

    def pairs(self, edits: Sequence[Edit]) -> list[Pairs]:
        """By matrix what the network reads of these edits."""
        batch = self.model.encode([edit.prompt for edit in edits], [edit.target for edit in edits])
        factors = gradient_factors(self.model, batch, [one.path for one in self.network.sites])
        return [self.read(factors[one.path]) for one in self.network.sites]

    def updates(self, edits: Sequence[Edit]) -> Updates:
        """The rewriting that makes these edits. In training mode their gradients are taken into the statistics."""
        found = {}
        for number, (inputs, gradients) in enumerate(self.pairs(edits)):
            self.network.observe(number, inputs, gradients)
            found[self.network.sites[number].path] = self.network(number, inputs, gradients)
        return found


@dataclass(frozen=True)
class Weights:
    """Of the two parts of the loss. Published: 0.1 and 1."""

    edit: float
    locality: float


class Rewriting(Course):
    """Training of a network's parameters by what its updates do to the model."""

    def __init__(
        self,
        rewriter: Rewriter,
        lessons: Lessons,
        weights: Weights,
        *,
        batch: int,
        lr: float,
        lr_steps: float,
        ridge: float = 0.0,
    ) -> None:
        """Start the statistics with gradients of the training lessons; `ridge`: see `Hypernetwork.set_apart`."""
        self.rewriter, self.weights, self.size = rewriter, weights, batch
        self.rates = lr, lr_steps
        self.network.train()
        batches = [lessons.batch(number, batch) for number in range(min(_WARM, -(-len(lessons.training) // batch)))]
        for part in batches:
            pairs = rewriter.pairs([lesson.edit for lesson in part])
            for place, (inputs, gradients) in enumerate(pairs):
                self.network.observe(place, inputs, gradients)
        if self.network.apart:
            self._set_apart(batches, pairs, ridge)

    @torch.no_grad()
    def _set_apart(self, batches: Sequence[Sequence[Lesson]], pairs: Sequence[Pairs], ridge: float) -> None:
        """Tell the network what ordinary inputs are: those of the questions that must stay."""
        paths = [one.path for one in self.network.sites]
        moments: dict[str, Tensor] = {}
        for number, part in enumerate(batches):
            still = kept(part, random.Random(f"ordinary {number}"))
            if not len(still):
                continue
            batch = still.batch(self.model)
            with capture(self.model.model, paths, what="input") as seen:
                self.model.forward(batch, keep=batch.keep)
            for path, (inputs, *_) in seen.items():
                real = real_tokens(self.model, path, batch)
                x = inputs.reshape(*real.shape, -1)[real].double()
                moments[path] = moments.get(path, 0) + x.T @ x
        for place, path in enumerate(paths):
            if path in moments:
                self.network.set_apart(place, moments[path], ridge, pairs[place][0])

    @property
    def model(self) -> EditableModel:
        return self.rewriter.model

    @property
    def network(self) -> Hypernetwork:
        return self.rewriter.network

    def groups(self) -> list[dict[str, Any]]:
        return self.network.groups(*self.rates)

    def step(self, lessons: Sequence[Lesson], rng: random.Random) -> Mapping[str, float]:
        # Half of the batches are divided: edits come in any number, and on top of others, which then must stay too.
        size = rng.randint(1, len(lessons)) if rng.random() < 0.5 else len(lessons)
        edited, earlier = lessons[:size], lessons[size:]
        asked, still = wanted(edited, rng), kept(lessons, rng) + _own(earlier)
        with self._made(earlier):
            before, _ = self._before(still)
            self.network.train()
            updates = self.rewriter.updates([lesson.edit for lesson in edited])
            batch = (asked + still).batch(self.model)
            losses = self._losses(batch, self._edited(batch, updates), len(asked), before)
        losses["loss"].backward()
        return {name: float(loss.detach()) for name, loss in losses.items()}

    @torch.no_grad()
    def validate(self, lessons: Sequence[Lesson]) -> Mapping[str, float]:
        self.network.eval()
        return averaged(self._figures, lessons, self.size)

    def state(self) -> dict[str, Tensor]:
        return dict(self.network.state_dict())

    def load(self, state: Mapping[str, Tensor]) -> None:
        self.network.load_state_dict(dict(state))

    def _figures(self, lessons: Sequence[Lesson], rng: random.Random) -> dict[str, tuple[float, int]]:
        """Means over the lessons, made together as one batch of edits, with how many each is of."""
        asked, still = wanted([_rephrased(one) for one in lessons], rng), kept(lessons, rng)
        own = _own(lessons)
        before, stays = self._before(still)
        batch = (asked + still + own).batch(self.model)
        logits = self._edited(batch, self.rewriter.updates([lesson.edit for lesson in lessons]))
        assert batch.gold is not None
        n, m = len(asked), len(still)
        losses = self._losses(batch.rows(torch.arange(n + m)), logits[: n + m], n, before)
        hits = right(logits, batch.gold)
        lost = stays & ~hits[n : n + m]
        told = {name: (float(loss), n) for name, loss in losses.items()}
        return told | {
            "success": (float(hits[n + m :].float().mean()), n),
            "generalization": (float(hits[:n].float().mean()), n),
            "drawdown": (float(lost.sum() / stays.sum().clamp(min=1)), int(stays.sum())),
        }

    def _losses(self, batch: Batch, logits: Tensor, asked: int, before: Tensor | None) -> dict[str, Tensor]:
        """The parts and their weighted sum; the first `asked` rows are wanted answers, the others must not move."""
        assert batch.gold is not None
        edit = target_loss(logits[:asked], batch.gold[:asked]).mean()
        moved = edit.new_zeros(())
        if before is not None:
            moved = divergence(before, log_chances(logits[asked:], batch.gold[asked:]))
        return {"loss": self.weights.edit * edit + self.weights.locality * moved, "edit": edit, "moved": moved}

    @contextmanager
    def _made(self, lessons: Sequence[Lesson]) -> Iterator[None]:
        """Inside, the model has these edits already."""
        updates: Updates = {}
        if lessons:
            self.network.eval()
            with torch.no_grad():
                updates = self.rewriter.updates([lesson.edit for lesson in lessons])
        with rewritten(self.model, updates):
            yield

    def _edited(self, batch: Batch, updates: Updates) -> Tensor:
        with rewritten(self.model, updates):
            return self.model.forward(batch, keep=batch.keep)

    @torch.no_grad()
    def _before(self, asked: Asked) -> tuple[Tensor | None, Tensor]:
        """Log-probabilities of the model without an edit, and by row whether they are right.

        Taken before anything is changed: there is no second model.
        """
        if not len(asked):
            return None, torch.zeros(0, dtype=torch.bool, device=self.model.device)
        batch = asked.batch(self.model)
        assert batch.gold is not None
        logits = self.model.forward(batch, keep=batch.keep)
        return log_chances(logits, batch.gold), right(logits, batch.gold)


def _own(lessons: Sequence[Lesson]) -> Asked:
    """The edits in their own wording."""
    return Asked([one.edit.prompt for one in lessons], [one.edit.target for one in lessons])


def _rephrased(lesson: Lesson) -> Lesson:
    """The lesson asked in its rephrasings only."""
    first, *_ = lesson.outer
    return Lesson(Edit(first[0], first[1], id=lesson.edit.id), lesson.outer, lesson.locality)
