"""Training an adaptor: a gate at one block and the answer behind it, jointly, on the blocks above the site alone.

In training the gate g is soft, g answer(x) + (1 - g) x, so that it learns too; whether the targets are reached is told
by the hard gate, as it will be in force. Knows batches, states and units; what is kept of the result is the method's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from errata.models import Batch, EditableModel
from errata.models.losses import margin, target_loss
from errata.models.prefix import Prefix
from errata.patches.adaptor import Affine, Answer, Gate, Slots
from errata.solve.descent import Descent
from errata.solve.values import typical

SURE = 2.0  # logit with which the gate starts at the edits' own queries: sigmoid 0.88
SHARP = 4.0  # standard deviation of a table's addressing logits at the start


@dataclass(frozen=True)
class Looked:
    """One batch up to the site, in float32.

    Attributes:
        states, places: (n, d), the states that a patch would be asked about, and where they are in the batch.
        queries: (B, d), those of the prompts' last tokens ([CLS] of a classifier).
    """

    prefix: Prefix
    places: tuple[Tensor, ...]
    states: Tensor
    queries: Tensor

    @classmethod
    def at(cls, model: EditableModel, batch: Batch, layer: int) -> Looked:
        prefix = model.prefix(batch, layer)
        states = prefix.hidden.float()
        rows = torch.arange(len(batch), device=states.device)
        decoder = batch.decoder_input_ids is not None and model.arch.causal(layer)
        query = torch.zeros_like(batch.query) if decoder else batch.query
        real = torch.ones_like(states[..., 0]) if decoder else batch.attention_mask
        places = real.nonzero(as_tuple=True) if model.arch.causal(layer) else (rows, query)
        return cls(prefix, places, states[places], states[rows, query])

    def logits(self, gate: Gate, answer: Answer, *, hard: bool) -> Tensor:
        """The model's logits with the adaptor in force."""
        opened = gate.logits(self.states)
        share = (opened > 0).float() if hard else torch.sigmoid(opened)
        mixed = self.states + share[:, None] * (answer(self.states) - self.states)
        hidden = self.prefix.hidden.clone()
        hidden[self.places] = mixed.to(hidden.dtype)
        return self.prefix.resume(hidden, keep=self.prefix.batch.keep)


@dataclass(frozen=True)
class Frame:
    """Units of the states at a site: z = (x - centre) / (spread sqrt(d)) has a norm of about 1 on any model.

    Attributes:
        centre, spread: (d,), robust against the one token whose state is huge in many models.
        size: of a typical coordinate, the unit of what is added to a state.
        gate: (d,), bias (): where a gate in z starts.
        start: (d,), the mean of the edits' own states.
    """

    centre: Tensor
    spread: Tensor
    size: Tensor
    gate: Tensor
    bias: Tensor
    start: Tensor

    @classmethod
    def of(cls, looked: Sequence[Looked], opening: float) -> Frame:
        """From the edits alone. The gate starts open at their queries and shut short of them: `opening` is the share
        of the way from the centre to the nearest query at which it opens."""
        states = torch.cat([one.states for one in looked])
        queries = torch.cat([one.queries for one in looked])
        size = typical(states.flatten())[0]
        # A median ignores a token whose state is huge, and the spread makes light of the coordinates that make it so.
        # Where an encoder is looked up at one token a row there is nothing else to compare with.
        centre = states.median(0).values if len(states) > len(queries) else torch.zeros_like(states[0])
        spread = (states.var(0, correction=0) + size**2).sqrt()
        away = (queries - centre) / (spread * len(centre) ** 0.5)
        direction = away.mean(0)
        least = (away @ direction).min().clamp(min=max(0.1 * float(direction.square().sum()), 1e-9))
        slope = SURE / (least * (1 - opening))
        return cls(centre, spread, size, slope * direction, -slope * opening * least, queries.mean(0))

    @property
    def rate(self) -> float:
        """Step of a weight on z, for a step of 1 of a bias: a sum over d coordinates then moves by as much."""
        return len(self.centre) ** -0.5

    def folded(self, weight: Tensor, bias: Tensor, centre: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """weight . z + bias as weight and bias for x: (d,) and (), or (n, d) and (n,). z may have another centre."""
        raw = weight / (self.spread * len(self.centre) ** 0.5)
        return raw, bias - raw @ (self.centre if centre is None else centre)


class Draft(ABC):
    """An adaptor in training: parameters in the frame's units, each with its learning rate for a rate of 1."""

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self.weight, self.bias = _free(frame.gate), _free(frame.bias)

    def gate(self) -> Gate:
        return Gate(*self.frame.folded(self.weight, self.bias))

    @abstractmethod
    def answer(self) -> Answer: ...

    def rates(self) -> list[tuple[Tensor, float]]:
        return [(self.weight, self.frame.rate), (self.bias, 1.0)]


class AffineDraft(Draft):
    """x + size (W z + b), from W = 0 and b = 0: at the start an open gate changes nothing.

    z is taken from the mean of the edits' own states: b is what they share, W what tells them apart.
    """

    def __init__(self, frame: Frame) -> None:
        super().__init__(frame)
        self.turn = _free(torch.zeros(len(frame.centre), len(frame.centre), device=frame.centre.device))
        self.shift = _free(torch.zeros_like(frame.centre))

    def answer(self) -> Affine:
        weight, bias = self.frame.folded(self.turn, self.shift, self.frame.start)
        return Affine(torch.eye(len(bias), device=bias.device) + self.frame.size * weight, self.frame.size * bias)

    def rates(self) -> list[tuple[Tensor, float]]:
        return [*super().rates(), (self.turn, self.frame.rate), (self.shift, 1.0)]


class SlotsDraft(Draft):
    """A table whose values all start at the mean of the edits' own states, addressed at random from a seed."""

    def __init__(self, frame: Frame, slots: int, seed: int) -> None:
        super().__init__(frame)
        drawn = torch.randn(slots, len(frame.centre), generator=torch.Generator().manual_seed(seed))
        self.address = _free(SHARP * drawn.to(frame.centre))
        self.offset = _free(torch.zeros(slots, device=frame.centre.device))
        self.moved = _free(torch.zeros_like(self.address))

    def answer(self) -> Slots:
        address, offset = self.frame.folded(self.address, self.offset)
        return Slots(address, offset, self.frame.start + self.frame.size * self.moved)

    def rates(self) -> list[tuple[Tensor, float]]:
        return [*super().rates(), (self.address, self.frame.rate), (self.offset, 1.0), (self.moved, 1.0)]


@dataclass(frozen=True)
class Adapted:
    """Gate and answer as trained, detached, and how the descent went under the hard gate."""

    gate: Gate
    answer: Answer
    descent: Descent


def train_adaptor(
    looked: Sequence[Looked],
    draft: Draft,
    *,
    lr: float,
    steps: int,
    lead: float,
    penalty: Callable[[Gate], Tensor] | None = None,
) -> Adapted:
    """Adam on gate and answer until every target, under the hard gate, leads all other tokens by `lead` logits.

    `penalty` is added to the mean loss. Call it within `EditableModel.preserved()`.
    """
    optimizer = torch.optim.Adam([{"params": [parameter], "lr": lr * rate} for parameter, rate in draft.rates()])
    taken = 0
    while True:
        with torch.no_grad():
            gate, answer = draft.gate(), draft.answer()
            scored = [_scores(one, gate, answer, hard=True) for one in looked]
            losses, leads = (torch.cat(parts) for parts in zip(*scored, strict=True))
        if taken == steps or bool((leads >= lead).all()) or not bool(losses.isfinite().all()):
            descent = Descent(taken, losses.tolist(), (leads > 0).tolist())
            return Adapted(gate.moved(losses.device), answer.moved(losses.device), descent)
        optimizer.zero_grad(set_to_none=True)
        for one in looked:
            loss, _ = _scores(one, draft.gate(), draft.answer(), hard=False)
            (loss.sum() / len(losses)).backward()
        if penalty is not None:
            penalty(draft.gate()).backward()
        optimizer.step()
        taken += 1


def shut(states: Tensor) -> Callable[[Gate], Tensor]:
    """The penalty on a gate that opens for any of these states (n, d): mean cross-entropy, nats."""
    return lambda gate: functional.softplus(gate.logits(states)).mean()


def _scores(looked: Looked, gate: Gate, answer: Answer, *, hard: bool) -> tuple[Tensor, Tensor]:
    gold = looked.prefix.batch.gold
    assert gold is not None
    logits = looked.logits(gate, answer, hard=hard)
    return target_loss(logits, gold), margin(logits.detach(), gold)


def _free(start: Tensor) -> Tensor:
    return start.detach().clone().requires_grad_(True)
