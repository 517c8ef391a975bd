"""Target states z*: what a subject's last token must look like inside the model for its prompt to be answered anew.

The objective of ROME (arXiv:2202.05262) and MEMIT (arXiv:2210.07229): the target after every context, the subject's own
next-token distribution unchanged, the state near its old norm. All edits of a call are optimised together, on the
blocks above the site alone, and an edit that is there leaves the batch. Knows edits, contexts and blocks; how weights
come to produce the states is no concern here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from errata.edits import Edit
from errata.models import Batch, EditableModel
from errata.models.hooks import replace_output
from errata.models.losses import margin, target_loss
from errata.solve.keys import Facts, columns, read
from errata.solve.values import typical

Site = Literal["block", "mlp", "mlp+attention"]
Stop = Literal["loss", "target", "first-choice"]


@dataclass(frozen=True)
class Search:
    """How target states are searched for.

    Attributes:
        lr: learning rate of Adam, in units of a typical coordinate of the state if `relative`, else absolute.
        steps: most optimisation steps.
        enough: see `stop`.
        clamp: most that a state may move, in units of its norm.
        kl: weight of the divergence of the subject's next-token distribution (nats).
        decay: weight of ||delta|| / ||v0||^2, both in the unit of `lr`.
        stop: when an edit is done: "loss", its whole loss is below `enough` (as published); "target", its targets' part
            is; "first-choice", the target leads after every context for the second time (ENCORE).
        relative: see `lr`.
    """

    lr: float
    steps: int
    enough: float
    clamp: float
    kl: float
    decay: float
    stop: Stop = "loss"
    relative: bool = True


@dataclass(frozen=True)
class Targets:
    """What was found for n edits, and per edit: steps, last loss, divergence (nats), and the target's lead (logits).

    Attributes:
        starts: (d, n) float64, states at the site in the bare prompts.
        deltas: (d, n) float64, what is to be added; z* = starts + deltas.
        lead: the least lead of a target token in the bare prompt; positive when it would be answered.
    """

    starts: Tensor
    deltas: Tensor
    steps: list[int]
    loss: list[float]
    divergence: list[float]
    lead: list[float]

    @property
    def states(self) -> Tensor:
        """z* (d, n)."""
        return self.starts + self.deltas

    def only(self, chosen: Sequence[int]) -> Targets:
        """Those of the edits at these places."""
        index = list(chosen)
        lists = {
            name: [getattr(self, name)[place] for place in index] for name in ("steps", "loss", "divergence", "lead")
        }
        return Targets(self.starts[:, index], self.deltas[:, index], **lists)


def find_targets(model: EditableModel, facts: Facts, layer: int, site: Site, search: Search) -> Targets:
    """Optimise one shift per edit, added at the subject's last token in every context.

    Args:
        facts: the edits with their contexts; `facts.rows` bounds the rows of one forward.
        site: "block": the output of block `layer`. "mlp": of its MLP; what is added there arrives unchanged at the
            block's output, in sequential and in parallel blocks, so the same blocks above are run. "mlp+attention":
            two shifts, of the MLP's and of the attention's output (PMET), of which the MLP's is returned; the block
            itself is run, since what attention writes goes through the MLP (not in parallel blocks, where both are
            read from the same input). With "first-choice" the MLP's shift alone has to lead.

    Call it within `EditableModel.preserved()`.
    """
    each = max(1, facts.rows // (len(facts.contexts) + 1))
    # Texts of like length after their subjects waste little padding.
    order = sorted(range(len(facts)), key=lambda place: _after_subject(facts.edits[place]))
    chunks = [order[start : start + each] for start in range(0, len(order), each)]
    parts = [_Search(model, facts.only(chunk), layer, site, search).run() for chunk in chunks]
    back = torch.tensor([place for chunk in chunks for place in chunk]).argsort()

    def column(pick: Callable[[Targets], Tensor]) -> Tensor:
        return torch.cat([pick(part) for part in parts], 1)[:, back]

    def figures(pick: Callable[[Targets], Sequence[float]]) -> list[float]:
        flat = [value for part in parts for value in pick(part)]
        return [flat[place] for place in back.tolist()]

    return Targets(
        column(lambda part: part.starts),
        column(lambda part: part.deltas),
        [int(value) for value in figures(lambda part: part.steps)],
        figures(lambda part: part.loss),
        figures(lambda part: part.divergence),
        figures(lambda part: part.lead),
    )


class _Search:
    """One batch of edits under optimisation: C rows of its contexts and one of the bare subject for each."""

    def __init__(self, model: EditableModel, facts: Facts, layer: int, site: Site, search: Search) -> None:
        self.model, self.facts, self.search = model, facts, search
        own = model.arch.blocks[layer] if site == "block" else model.arch.matrix(layer, "mlp_down")
        self.starts = read(model, facts.bare, layer, own)[:, 0].to(model.device, torch.float32)
        self.modules = [own, model.arch.matrix(layer, "attn_out")] if site == "mlp+attention" else []
        below = layer - 1 if self.modules else layer
        self.answers = _Rows(model, *_prompts(model, facts), below, len(facts.contexts))
        self.subjects = _Rows(model, *_subjects(model, facts), below, 1)
        self.unit = torch.ones(len(facts), 1, device=model.device)
        if search.relative:
            self.unit = torch.stack([typical(start) for start in self.starts])
        self.size = self.starts.norm(dim=1, keepdim=True) / self.unit  # norms of the start states, in units
        self.before: Tensor | None = None
        self.adding: tuple[Tensor, int, int] | None = None  # shifts (sites, R, d), their column, of how many

    def run(self) -> Targets:
        n, search = len(self.facts), self.search
        sites = max(1, len(self.modules))
        moved = torch.zeros(sites, n, self.starts.shape[1], device=self.model.device, requires_grad=True)
        optimizer = torch.optim.Adam([moved], lr=search.lr)
        found = torch.zeros(n, self.starts.shape[1], device=self.model.device)
        figures = torch.full((4, n), float("nan"), device=self.model.device)  # steps, loss, divergence, lead
        held = torch.zeros(n, dtype=torch.long, device=self.model.device)  # steps at which all contexts led
        active = torch.arange(n, device=self.model.device)
        with self._adding():
            for step in range(search.steps + 1):
                nll, leads = self._answered(moved, active)
                divergence = self._divergence(moved, active)
                told = nll.detach()
                if self.modules and search.stop == "first-choice":  # too thin a lead to share with attention
                    told, leads = self._written(moved, active)
                # norm() has no gradient at zero.
                sizes = (moved[:, active].square().sum(-1) + 1e-24).sqrt().sum(0)
                decay = search.decay * sizes / self.size[active, 0] ** 2
                loss = nll + search.kl * divergence + decay
                found[active] = (self.unit * moved[0]).detach()[active]
                now = torch.full_like(loss.detach(), step)
                figures[:, active] = torch.stack([now, loss.detach(), divergence.detach(), leads[:, 0]])
                held[active] += (leads > 0).all(1)
                done = self._done(told, loss.detach(), held[active])
                going = ~done & loss.detach().isfinite()
                if step == search.steps or not going.any():
                    break
                optimizer.zero_grad(set_to_none=True)
                loss[going].sum().backward()
                optimizer.step()
                self._clamp(moved)
                active = active[going]
        steps, losses, divergences, leads = figures.cpu().tolist()
        return Targets(
            self.starts.t().double(), found.t().double(), [int(step) for step in steps], losses, divergences, leads
        )

    def _answered(self, moved: Tensor, active: Tensor) -> tuple[Tensor, Tensor]:
        """Of every active edit: mean NLL of its target over contexts (A,), and leads (A, C)."""
        logits = self._logits(self.answers, moved, active)
        gold = self.answers.gold[torch.isin(self.answers.owner, active)]
        losses = target_loss(logits, gold).unflatten(0, (len(active), -1))
        leads = margin(logits.detach(), gold).unflatten(0, (len(active), -1))
        return losses.mean(1), leads

    def _divergence(self, moved: Tensor, active: Tensor) -> Tensor:
        """(A,): how far the next-token distribution at the end of the bare subject has moved, nats."""
        logits = self._logits(self.subjects, moved, active)
        now = functional.log_softmax(logits[:, self.subjects.column].float(), -1)
        if self.before is None:  # at the first step nothing is shifted, and every edit is active
            self.before = now.detach()
        return (now.exp() * (now - self.before[active])).sum(1)

    @torch.no_grad()
    def _written(self, moved: Tensor, active: Tensor) -> tuple[Tensor, Tensor]:
        """Mean NLL and leads of the active edits with the shift of the first module alone."""
        return self._answered(torch.cat([moved[:1], torch.zeros_like(moved[1:])]), active)

    def _done(self, nll: Tensor, loss: Tensor, held: Tensor) -> Tensor:
        if self.search.stop == "first-choice":
            return held > 1
        return (nll if self.search.stop == "target" else loss) < self.search.enough

    @torch.no_grad()
    def _clamp(self, moved: Tensor) -> None:
        most = self.search.clamp * self.size
        norms = moved.norm(dim=2, keepdim=True)
        moved.mul_(torch.where(norms > most, most / norms.clamp(min=1e-12), 1.0))

    def _logits(self, rows: _Rows, moved: Tensor, active: Tensor) -> Tensor:
        """Logits of the active edits' rows with their shifts added."""
        chosen = torch.isin(rows.owner, active).nonzero()[:, 0]
        whole = len(chosen) == len(rows.owner)
        shift = (self.unit * moved)[:, rows.owner[chosen]]
        hidden = rows.prefix.hidden if whole else rows.prefix.hidden[chosen]
        if self.modules:
            self.adding = (shift, rows.column, hidden.shape[1])
        else:
            hidden = _shifted(hidden, shift[0], rows.column)
        return rows.prefix.resume(hidden, None if whole else chosen, keep=rows.batch.keep)

    def _adding(self) -> ExitStack:
        """Within it, the modules of the site add their shifts to what they return."""
        stack = ExitStack()
        for number, path in enumerate(self.modules):

            def add(hidden: Tensor, number: int = number) -> Tensor:
                if self.adding is None:
                    return hidden
                shift, column, width = self.adding
                rows = hidden.reshape(-1, width, hidden.shape[-1])  # some models flatten them
                return _shifted(rows, shift[number], column).view_as(hidden)

            stack.callback(replace_output(self.model.model.get_submodule(path), add).remove)
        return stack


class _Rows:
    """Texts of n edits, side by side at their subjects' last tokens, computed up to a block.

    Attributes:
        owner: (R,) long, the edit that a row belongs to.
        column: of `prefix.hidden`, where all the subjects' last tokens are.
        gold: (R, T) as in `Batch`, empty without targets.
    """

    def __init__(self, model: EditableModel, batch: Batch, columns: Tensor, layer: int, each: int) -> None:
        self.batch, place = batch.aligned(columns, model.pad_id)
        # What stands before a subject stays as it is.
        self.prefix = model.prefix(self.batch, layer, place)
        self.column = place - self.prefix.start
        self.gold = torch.zeros(0) if self.batch.gold is None else self.batch.gold
        self.owner = torch.arange(len(batch) // each, device=columns.device).repeat_interleave(each)


def _shifted(hidden: Tensor, shift: Tensor, column: int) -> Tensor:
    """`hidden` (R, T, d) with `shift` (R, d) added at one column."""
    at = hidden[:, column] + shift.to(hidden.dtype)
    return torch.cat([hidden[:, :column], at[:, None], hidden[:, column + 1 :]], 1)


def _prompts(model: EditableModel, facts: Facts) -> tuple[Batch, Tensor]:
    """Every edit's prompt after every context, with its target, and the columns of the subjects' last tokens."""
    targets = [edit.target for edit in facts.edits for _ in facts.contexts.prefixes]
    ends = [edit.goal is None for edit in facts.edits for _ in facts.contexts.prefixes]
    batch = model.encode(facts.prompts, targets, end=ends, padding_side="left")
    return batch, _located(model, batch, facts.prompts, facts.ends)


def _subjects(model: EditableModel, facts: Facts) -> tuple[Batch, Tensor]:
    """Every edit's subject, and the column of its last token: what follows it makes no difference there."""
    names = [str(edit.subject).strip() for edit in facts.edits]
    batch = model.encode(names, padding_side="left")
    return batch, _located(model, batch, names, [len(name) - 1 for name in names])


def _after_subject(edit: Edit) -> int:
    """Characters that follow the subject."""
    return len(edit.prompt.partition(str(edit.subject))[2]) + len(edit.target)


def _located(model: EditableModel, batch: Batch, texts: Sequence[str], ends: Sequence[int]) -> Tensor:
    """(B,): the columns of the tokens that hold the characters at `ends`, padding included."""
    return torch.tensor(columns(model, texts, ends), device=model.device) + batch.pads
