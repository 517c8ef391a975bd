"""Low-rank changes of one matrix that make a model give answers, each found for its own edit alone.

An edit's question is asked alone and after other turns, or a change would suit the states of one conversation only. All
edits of a batch are found in the same forwards, with factors of their own, so that none depends on another. Only the
blocks from the changed one on are run. Knows batches, blocks and factors; where a change is in force does not matter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from errata.edits import Edit
from errata.models import EditableModel
from errata.models.hooks import added, capture
from errata.models.losses import IGNORED, margin
from errata.models.prefix import Prefix, Resume
from errata.patches.deltas import LowRank
from errata.prompts import Conversation, Message
from errata.solve.descent import descend

# Turns that a question may come after: their words are of no matter.
TALKS = (
    (("user", "Hello!"), ("assistant", "Hello! How can I help you?")),
    (
        ("user", "Give me a word that rhymes with tree."), ("assistant", "Bee rhymes with tree."),
        ("user", "Thank you, that helps."), ("assistant", "You are welcome."),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Factors:
    """Factors of E edits, in units in which one learning rate suits models of any scale.

    Attributes:
        down: (E, r, d_in); its product with a typical input has a size of about 1.
        up: (E, d_out, r), in units of `state`.
        read: root mean square of an input's coordinate.
        state: root mean square of a state's coordinate.
        owners: (B,), which edit's factors a row has.
        first: the column from which the changes are in force.
    """

    down: Tensor
    up: Tensor
    read: float
    state: float
    owners: Tensor
    first: int

    @classmethod
    def begin(cls, read: Tensor, states: Tensor, owners: Tensor, *, rank: int, seed: int, first: int) -> Factors:
        """Make factors that change nothing yet, for inputs (B, T, d_in) of the matrix and states (B, T, d)."""
        generator = torch.Generator().manual_seed(seed)
        edits, width, device = int(owners.max()) + 1, read.shape[2], read.device
        down = torch.randn(1, rank, width, generator=generator).repeat(edits, 1, 1) / math.sqrt(width)
        size, usual = (float(one.float().square().mean().sqrt()) for one in (read, states))
        up = torch.zeros(edits, states.shape[2], rank, device=device)
        return cls(down.to(device), up, size, usual, owners.to(device), first)

    def part(self, read: Tensor) -> Tensor:
        """(B, T, d): what is added to the output for inputs (B, T, d_in)."""
        inside = torch.arange(read.shape[1], device=read.device)[:, None] >= self.first
        return (read / self.read @ self.down.mT[self.owners] @ self.up.mT[self.owners]) * self.state * inside

    def rates(self, lr: float) -> dict[Tensor, float]:
        """Return the learning rate of each factor."""
        return {self.down: lr / math.sqrt(self.down.shape[2]), self.up: lr}

    def change(self, edit: int) -> LowRank:
        """Return the change of one edit."""
        return LowRank(self.up[edit] * self.state, self.down[edit] / self.read)


@dataclass
class Answers:
    """The edits' answers as a loss: tokens that are less likely than they shall be.

    Attributes:
        hidden: (B, T, d), output of the block below the one that is changed.
        gold: (B, T), aligned with `hidden`.
        owners: (B,), the edit that a row belongs to.
        least: nats above which a token counts.
        worst: (E,) nats of each edit's least likely token, when it was last looked at.
    """

    edits: tuple[Edit, ...]
    resume: Resume
    hidden: Tensor
    gold: Tensor
    owners: Tensor
    least: float
    worst: Tensor = field(default_factory=lambda: torch.empty(0))

    def judge(self, model: EditableModel) -> tuple[Tensor, Tensor]:
        """Losses (E,), 0 of an edit whose tokens are all likely enough, and how far its least one leads."""
        logits = self.resume(self.hidden)
        gold = self.gold[:, self.gold.shape[1] - logits.shape[1] :]
        nll = functional.cross_entropy(logits.float().mT, gold, ignore_index=IGNORED, reduction="none")
        none = nll.new_zeros(len(self.edits))
        self.worst = none.scatter_reduce(0, self.owners, nll.detach().amax(1), "amax")
        leads = (none + torch.inf).scatter_reduce(0, self.owners, margin(logits.detach(), gold), "amin")
        return none.index_add(0, self.owners, (nll * (nll > self.least)).sum(1)), leads

    def enough(self, answered: float) -> Tensor:
        """(E,) losses that an edit has to be below."""
        return torch.full((len(self.edits),), answered, device=self.hidden.device)


def solve_changes(
    model: EditableModel, edits: Sequence[Edit], layer: int, role: str, *, rank: int, confidence: float, lr: float,
    steps: int, contexts: int, seed: int,
) -> list[tuple[LowRank | None, dict[str, Any]]]:  # fmt: skip
    """Find a change for every edit, and what was measured; none, and a "problem", where its answer was not reached.

    Args:
        layer: the block that is changed, at least 1.
        role: which of its matrices.
        confidence: the probability that every token of the answers shall have.
        lr: learning rate of Adam, in units of a typical state's coordinate.
        steps: of Adam, at most.
        contexts: conversations with other turns in which a question is asked too.
    """
    asked = [(owner, prompt) for owner, edit in enumerate(edits) for prompt in after_turns(edit.prompt, contexts)]
    owners = torch.tensor([owner for owner, _ in asked], device=model.device)
    batch = model.encode([prompt for _, prompt in asked], [edits[owner].target for owner, _ in asked])
    batch, place = batch.aligned(batch.query, model.pad_id)
    prefix, path = model.prefix(batch, layer - 1, place), model.arch.matrix(layer, role)
    least = -math.log(confidence)
    with prefix.suffix() as resume:
        factors = Factors.begin(
            _read(model, prefix, resume, path), prefix.hidden, owners, rank=rank, seed=seed, first=place - prefix.start
        )
        assert prefix.batch.gold is not None
        gold = prefix.batch.gold[:, prefix.batch.gold.shape[1] - prefix.hidden.shape[1] :]
        answers = Answers(tuple(edits), resume, prefix.hidden, gold, owners, least)
        with added(model.model, {path: factors.part}):
            # A loss that is not 0 is that of a token at least.
            descent = descend(model, factors.rates(lr), [answers], steps=steps, enough=least)
    figures = descent.figures(edits)
    found: list[tuple[LowRank | None, dict[str, Any]]] = []
    for place, edit in enumerate(edits):
        told = figures[str(edit.id)] | {"probability": math.exp(-float(answers.worst[place]))}
        found.append((None if "problem" in told else factors.change(place), told))
    return found


def after_turns(prompt: str, contexts: int) -> list[Conversation]:
    """Return a conversation as it is and, so many times, with other turns before it."""
    assert isinstance(prompt, Conversation)
    system = [message for message in prompt.messages if message.role == "system"]
    own = [message for message in prompt.messages if message.role != "system"]
    return [prompt, *(Conversation([*system, *(Message(*turn) for turn in talk), *own]) for talk in TALKS[:contexts])]


@torch.no_grad()
def _read(model: EditableModel, prefix: Prefix, resume: Resume, path: str) -> Tensor:
    """(B, T, d_in): what the matrix reads before anything is changed."""
    with capture(model.model, [path], what="input") as record:
        resume(prefix.hidden)
    return record[path][0]
