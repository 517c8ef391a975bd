"""Target states z*: what a subject's last token must look like inside the model for its prompt to be answered anew.

The objective of ROME (arXiv:2202.05262) and MEMIT (arXiv:2210.07229): the target after every context, the subject's own
next-token distribution unchanged, the state near its old norm. All edits of a call are optimised together, on the
blocks above the site alone, and an edit that is there leaves the batch. Knows edits, contexts and blocks; how weights
come to produce the states is no concern here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from errata.models import Batch, EditableModel
from errata.models.hooks import replace_output
from errata.models.losses import IGNORED, margin, target_loss
from errata.models.prefix import Resume
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
    # Prompts of like length waste little padding.
    order = sorted(range(len(facts)), key=lambda place: len(facts.edits[place].prompt))
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
        self.batch, self.columns = _rows(model, facts)
        n, per = len(facts), len(facts.contexts) + 1
        self.owner = torch.arange(n, device=model.device).repeat_interleave(per)
        self.drift = torch.arange(n * per, device=model.device) % per == per - 1  # the rows of bare subjects
        own = model.arch.blocks[layer] if site == "block" else model.arch.matrix(layer, "mlp_down")
        self.starts = read(model, facts.bare, layer, own)[:, 0].to(model.device, torch.float32)
        self.modules = [own] if site == "mlp+attention" else []
        if self.modules:
            self.modules.append(model.arch.matrix(layer, "attn_out"))
        self.prefix = model.prefix(self.batch, layer - 1 if self.modules else layer)
        self.unit = torch.ones(n, 1, device=model.device)
        if search.relative:
            self.unit = torch.stack([typical(start) for start in self.starts])
        self.size = self.starts.norm(dim=1, keepdim=True) / self.unit  # norms of the start states, in units
        # The logits of the last columns, the subjects' last tokens in the rows of bare subjects among them.
        first = int(self.columns[self.drift].min())
        self.keep = max(self.batch.keep or 0, self.batch.input_ids.shape[1] - first)
        self.before: Tensor | None = None
        self.shift = torch.zeros(0)
        self.places: tuple[Tensor, Tensor] | None = None

    def run(self) -> Targets:
        n, search = len(self.facts), self.search
        sites = max(1, len(self.modules))
        moved = torch.zeros(sites, n, self.starts.shape[1], device=self.model.device, requires_grad=True)
        optimizer = torch.optim.Adam([moved], lr=search.lr)
        found = torch.zeros(n, self.starts.shape[1], device=self.model.device)
        figures = torch.full((4, n), float("nan"), device=self.model.device)  # steps, loss, divergence, lead
        held = torch.zeros(n, dtype=torch.long, device=self.model.device)  # steps at which all contexts led
        active = torch.arange(n, device=self.model.device)
        with self.prefix.suffix() as resume, self._adding():
            for step in range(search.steps + 1):
                logits, rows = self._logits(resume, moved, active)
                nll, divergence, leads = self._objective(logits, rows, active)
                told = nll.detach()
                if self.modules and search.stop == "first-choice":  # too thin a lead to share with attention
                    told, leads = self._written(resume, moved, active)
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

    @torch.no_grad()
    def _written(self, resume: Resume, moved: Tensor, active: Tensor) -> tuple[Tensor, Tensor]:
        """Mean NLL and leads of the active edits with the shift of the first module alone."""
        alone = torch.cat([moved[:1], torch.zeros_like(moved[1:])])
        nll, _, leads = self._objective(*self._logits(resume, alone, active), active)
        return nll, leads

    def _done(self, nll: Tensor, loss: Tensor, held: Tensor) -> Tensor:
        if self.search.stop == "first-choice":
            return held > 1
        return (nll if self.search.stop == "target" else loss) < self.search.enough

    @torch.no_grad()
    def _clamp(self, moved: Tensor) -> None:
        most = self.search.clamp * self.size
        norms = moved.norm(dim=2, keepdim=True)
        moved.mul_(torch.where(norms > most, most / norms.clamp(min=1e-12), 1.0))

    def _logits(self, resume: Resume, moved: Tensor, active: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the active edits' rows with their shifts added, and which rows those are."""
        rows = torch.isin(self.owner, active).nonzero()[:, 0]
        whole = len(rows) == len(self.owner)
        shift = (self.unit * moved)[:, self.owner[rows]]
        hidden = self.prefix.hidden if whole else self.prefix.hidden[rows]
        places = (torch.arange(len(rows), device=rows.device), self.columns[rows])
        if self.modules:
            self.shift, self.places = shift, places
        else:
            hidden = hidden.index_put(places, shift[0].to(hidden.dtype), accumulate=True)
        return resume(hidden, None if whole else rows, keep=self.keep), rows

    def _adding(self) -> ExitStack:
        """Within it, the modules of the site add their shifts to what they return."""
        stack = ExitStack()
        for number, path in enumerate(self.modules):

            def add(hidden: Tensor, number: int = number) -> Tensor:
                if self.places is None:
                    return hidden
                rows = hidden.reshape(-1, self.batch.input_ids.shape[1], hidden.shape[-1])  # some models flatten them
                shifted = rows.index_put(self.places, self.shift[number].to(hidden.dtype), accumulate=True)
                return shifted.view_as(hidden)

            stack.callback(replace_output(self.model.model.get_submodule(path), add).remove)
        return stack

    def _objective(self, logits: Tensor, rows: Tensor, active: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of every active edit: mean NLL over contexts (A,), divergence (A,), leads (A, C)."""
        assert self.batch.gold is not None
        gold, drift = self.batch.gold[rows], self.drift[rows]
        losses = target_loss(logits, gold)[~drift].unflatten(0, (len(active), -1))
        leads = margin(logits.detach(), gold)[~drift].unflatten(0, (len(active), -1))
        # Padded on the left, so that the kept logits are the last columns.
        column = self.columns[rows][drift] - (gold.shape[1] - logits.shape[1])
        now = functional.log_softmax(logits[drift.nonzero()[:, 0], column].float(), -1)
        if self.before is None:  # at the first step nothing is shifted, and every edit is active
            self.before = now.detach()
        divergence = (now.exp() * (now - self.before[active])).sum(1)
        return losses.mean(1), divergence, leads


def _rows(model: EditableModel, facts: Facts) -> tuple[Batch, Tensor]:
    """All rows with their targets, and the columns of the subjects' last tokens, padding included.

    The last row of an edit is "{subject} is a"; its divergence is read at the subject's last token, which is where
    the published code reads it.
    """
    per = len(facts.contexts)
    prompts, targets, ends = [], [], []
    for place, edit in enumerate(facts.edits):
        mine = slice(place * per, (place + 1) * per)
        prompts += [*facts.prompts[mine], str(edit.subject).strip()]
        targets += [edit.target] * per + ["is a"]
        ends += [*facts.ends[mine], len(str(edit.subject).strip()) - 1]
    batch = model.encode(prompts, targets, padding_side="left")
    assert batch.gold is not None
    gold = batch.gold.clone()
    drift = torch.arange(len(prompts), device=gold.device) % (per + 1) == per
    gold[drift] = IGNORED
    unpadded = torch.tensor(columns(model, prompts, ends), device=gold.device)
    return replace(batch, gold=gold), unpadded + batch.pads
