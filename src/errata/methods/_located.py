"""What the locate-then-edit methods share: options, target states, and how they become updates of early MLPs.

A method of the family chooses parts: which blocks, how a residual is spread over them, which linear system is solved,
which earlier keys it protects. Knows target states, statistics and drafts; it knows no method of the family.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor

from errata.edits import Edit
from errata.errors import BadConfig, BadModel
from errata.methods._base import Fit, Method, MethodConfig, option
from errata.methods._published import published
from errata.methods._sites import parse_layers, traced_layers
from errata.methods._work import Work
from errata.models import EditableModel
from errata.models.hooks import as_matrix
from errata.patches.base import Patch
from errata.patches.original import patches_off
from errata.patches.weights import WeightPatch
from errata.solve.arrival import require_arrival
from errata.solve.ball import Ball
from errata.solve.draft import Draft
from errata.solve.keys import Facts, read_states, require_subjects
from errata.solve.mixing import largest_inside
from errata.solve.nested import once
from errata.solve.postprocess import prune_factors, rect
from errata.solve.targets import Search, Site, Targets, find_targets
from errata.solve.templates import contexts
from errata.statistics import Need, SecondMoment, corpus_for, second_moments

CAUSAL = ("causal",)
"""The tasks of the family: a subject's state must feed a model that writes on from it."""
OUTSIDE = "no share of the update is inside the ball; widen it, or give more weight to ordinary keys"


@dataclass(frozen=True)
class LocatedConfig(MethodConfig):
    """Options of the family. "auto" is what was published for a well-known model, else Errata's own default."""

    layers: int | float | str = option(
        "auto", 'edited blocks: "auto" (where tracing finds facts), "5", "3-8", "3,5", or a fraction of the depth'
    )
    contexts: Literal["auto", "rome", "memit", "none"] = option(
        "auto", "texts an edited prompt is read after: ROME's 20, MEMIT's 5, or none; sampled from the original model"
    )
    lr: Literal["auto"] | float = option("auto", "learning rate of Adam on the target states, in `unit`")
    unit: Literal["auto", "state", "absolute"] = option(
        "auto", "what lr and decay are measured in: a typical coordinate of the state, or absolute numbers"
    )
    steps: Literal["auto"] | int = option("auto", "most optimisation steps of a target state")
    stop: Literal["auto", "loss", "target", "first-choice"] = option(
        "auto", "when a target state is done: whole loss or target's below `enough`, or target first twice (ENCORE)"
    )
    enough: Literal["auto"] | float = option("auto", "loss at which a target state is done, nats a token")
    clamp: Literal["auto"] | float = option("auto", "most that a target state moves, in units of its norm")
    kl: Literal["auto"] | float = option("auto", "weight of keeping the subject's own next-token distribution")
    decay: Literal["auto"] | float = option("auto", "weight of the length of the shift")
    rewind: Literal["auto"] | bool = option("auto", "find target states with this method's earlier patches off (NSE)")
    blue: bool = option(False, "edit only the first and last block, each with a target state of its own (BLUE)")
    anchor: bool = option(False, "give MLP outputs the norm that edits need on the original weights (NAS)")
    sphere: float = option(0.0, "share of an update along its matrix's main directions that is left out (SPHERE)")
    energy: float = option(0.5, "share of the matrix that its main directions hold (SPHERE)")
    post: Literal["none", "rect", "prune"] = option(
        "none", "keep the largest relative changes only (RECT), or draw in large singular values (PRUNE)"
    )
    keep: float = option(0.4, "share of entries that RECT keeps")
    subject: Literal["given", "prompt"] = option(
        "given", "whose state carries the edit: the edit's own subject, or its whole prompt"
    )
    ball: float | None = option(
        None, "take as much of the update as leaves the loss on general text below (1 + ball) times the model's own"
    )
    corpus: str | None = option(None, "text for key statistics: a file or data set; by default the lab's own, or prose")
    tokens: int = option(100_000, "tokens of that text")
    rows: int = option(256, "texts in one forward")


@dataclass(frozen=True)
class WeighedConfig(LocatedConfig):
    """Options of the methods that weigh ordinary keys against the edited ones."""

    weight: Literal["auto"] | float = option("auto", "lambda: how many ordinary keys count as much as one edited key")


class Located(Method):
    """Locate-then-edit: a target state for every edit's subject, and updates of MLP matrices that bring it about."""

    Config = LocatedConfig
    own: ClassVar[Mapping[str, Any]] = {}  # this method's defaults for models without published settings
    weigh: ClassVar[float] = 0.0  # its default lambda for these, by the width of a key
    table: ClassVar[str] = "memit"  # its published settings
    site: ClassVar[Site] = "block"
    single: ClassVar[bool] = False  # edits one block
    usual: ClassVar[str | None] = None  # what it edits in a model where tracing finds nothing; by depth if None

    def fit(self, model: EditableModel, edits: Sequence[Edit], previous: Patch | None = None) -> Fit:
        if model.task not in CAUSAL:
            raise BadModel(
                f"'{self.name}' edits causal language models, where a subject's state feeds what is written; "
                f"for this {model.task} model use a method such as grace or ft"
            )
        edits = _about(edits, self.config)
        require_subjects(edits)
        config = self.settled(model)
        with model.preserved():
            for layer in self._layers(model, config):
                require_arrival(model, layer)
            # Target states are the same for a ball of any size; finding them takes longest.
            about = repr((self.name, dataclasses.replace(config, ball=None), [edit.to_json() for edit in edits]))
            goals = once(about, lambda: self._goals(model, _facts(model, edits, config), config))
            return self._solved(model, edits, config, goals)

    def refit(self, model: EditableModel, edits: Sequence[Edit], previous: Patch | None, earlier: Fit) -> Fit:
        """Solves again for fewer edits; their target states are found already."""
        ids, goals = earlier.kept
        edits = _about(edits, self.config)
        places = [ids.index(str(edit.id)) for edit in edits]
        with model.preserved():
            left = [(layer, goal.only(places)) for layer, goal in goals]
            return self._solved(model, edits, self.settled(model), left)

    def _solved(
        self, model: EditableModel, edits: Sequence[Edit], config: Any, goals: Sequence[tuple[int, Targets]]
    ) -> Fit:
        """The updates that bring the target states about, of the edits that have one."""
        figures = _figures(edits, goals)
        chosen = [place for place, edit in enumerate(edits) if "problem" not in figures[str(edit.id)]]
        kept = ([str(edit.id) for edit in edits], goals)
        if not chosen:
            return Fit(None, figures, kept)
        with Draft(model) as draft:
            work = Work(
                model, _facts(model, edits, config).only(chosen), config, draft, self._moments(model, config),
                [layer for layer, _ in goals], [goal.only(chosen) for _, goal in goals], self._past(model, config),
            )  # fmt: skip
            told = self._write(work)
            self._afterwards(work)
            memory = self._memory(work)
            deltas = draft.deltas()
        for place, one in zip(chosen, told, strict=True):
            figures[str(edits[place].id)] |= one
        patch = WeightPatch(
            deltas, method=self.name, config=self.config.to_json(), edits=[str(edits[place].id) for place in chosen],
            memory=memory,
        )  # fmt: skip
        return Fit(self._inside(model, patch, figures), figures, kept)

    def _inside(self, model: EditableModel, patch: WeightPatch, figures: dict[str, dict[str, Any]]) -> Patch | None:
        """The patch, or as much of it as the ball allows."""
        if self.config.ball is None:
            return patch
        found = largest_inside(model, patch.scaled, Ball.around(model, self.config.ball))
        for id in patch.edits:
            figures[id] |= {"share": found.share} if found.patch else {"problem": OUTSIDE}
        return found.patch

    def needs(self, model: EditableModel) -> Need | None:
        if model.task not in CAUSAL:
            return None
        config = self.settled(model)
        return Need(self._layers(model, config), tokens=config.tokens)

    def settled(self, model: EditableModel) -> Any:
        """The config with every "auto" made a value: a published one, else Errata's own for this method.

        Reads the model's sizes alone. Blocks that nobody published stay "auto": finding them runs the model.
        """
        known = dict(published(self.table, model))
        if known and self.config.blue and self.table == "alphaedit":
            known |= published("alphaedit+blue", model)
        width = as_matrix(model.model.get_submodule(model.arch.matrix(0, "mlp_down"))).shape[1]
        values = {**_OWN, "weight": self.weigh * width, **self.own, **known}
        chosen = {
            item.name: values[item.name]
            for item in dataclasses.fields(self.config)
            if getattr(self.config, item.name) == "auto"
        }
        return dataclasses.replace(self.config, **chosen)

    # -- parts a method may choose -------------------------------------------------------------------------------

    @abstractmethod
    def _write(self, work: Work) -> list[dict[str, Any]]:
        """Add the updates to the draft; returns what to tell of each edit."""

    def _past(self, model: EditableModel, config: Any) -> dict[int, Tensor]:
        """Keys (d_in, m) by block that earlier edits rely on and the update must leave alone."""
        return {}

    def _memory(self, work: Work) -> dict[str, Tensor]:
        """What the patch keeps for later patches of this method."""
        return {}

    # -- the steps -----------------------------------------------------------------------------------------------

    def _layers(self, model: EditableModel, config: Any) -> tuple[int, ...]:
        layers = traced_layers(model, self.usual) if config.layers == "auto" else parse_layers(model, config.layers)
        if self.single and len(layers) != 1:
            raise BadConfig(f"'{self.name}' edits one block; give `layers` as one number, not {config.layers!r}")
        return (layers[0], layers[-1]) if config.blue and len(layers) > 1 else layers

    def _moments(self, model: EditableModel, config: Any) -> dict[int, SecondMoment]:
        layers = self._layers(model, config)
        return second_moments(model, layers, corpus_for(model, config.corpus), tokens=config.tokens, progress=False)

    def _goals(self, model: EditableModel, facts: Facts, config: Any) -> list[tuple[int, Targets]]:
        """By block: the target states. The last block has them; with BLUE the first one has its own too."""
        layers = self._layers(model, config)
        wanted = layers if config.blue else layers[-1:]
        search = Search(
            config.lr, config.steps, config.enough, config.clamp, config.kl, config.decay, config.stop,
            relative=config.unit == "state",
        )  # fmt: skip

        def ours(patch: Patch) -> bool:
            return patch.method == self.name

        with patches_off(model, ours) if config.rewind else nullcontext():
            found = [find_targets(model, facts, layer, self.site, search) for layer in wanted]
        if config.anchor:
            found = [
                _anchored(model, facts, layer, self.site, search, targets)
                for layer, targets in zip(wanted, found, strict=True)
            ]
        return list(zip(wanted, found, strict=True))

    def _afterwards(self, work: Work) -> None:
        """What RECT and PRUNE make of the updates."""
        config = work.config
        for name in work.draft.names() if config.post != "none" else ():
            B, A = work.draft.factors(name)
            weight = work.draft.weight(name)
            if config.post == "rect":
                work.draft.replace(name, rect(B @ A, weight.to(B), keep=config.keep))
            else:
                drawn = prune_factors(B, A, weight.to(B))
                work.draft.replace_factors(name, *drawn)


def _about(edits: Sequence[Edit], config: Any) -> list[Edit]:
    """The edits with the subject that the options name."""
    if config.subject == "given":
        return list(edits)
    return [dataclasses.replace(edit, subject=edit.prompt) for edit in edits]


def _facts(model: EditableModel, edits: Sequence[Edit], config: Any) -> Facts:
    return Facts(list(edits), contexts(model, config.contexts, config.seed), config.rows)


# Errata's own defaults, tuned on lab:gpt; the linear systems' are in each method.
_OWN: dict[str, Any] = {
    "layers": "auto", "contexts": "memit", "lr": 0.25, "unit": "state", "steps": 80, "stop": "target", "enough": 0.12,
    "clamp": 4.0, "kl": 0.0625, "decay": 0.5, "rewind": False,
}  # fmt: skip


def _anchored(
    model: EditableModel, facts: Facts, layer: int, site: Site, search: Search, targets: Targets
) -> Targets:
    """NAS: v* = MLP output + shift is brought to the mean norm that it has when found on the original weights.

    A target whose v* is more than twice as long is given up. The published norm is that of 1000 CounterFact facts on
    the original model; here it is that of the call's own edits, which needs no data and knows no language.
    """
    outputs = read_states(model, facts, layer, "mlp").to(targets.deltas)
    with patches_off(model):
        reference = find_targets(model, facts, layer, site, search).deltas
        usual = float((read_states(model, facts, layer, "mlp").to(reference) + reference).norm(dim=0).mean())
    reached = outputs + targets.deltas
    sizes = reached.norm(dim=0)
    lead = [-1.0 if size > 2 * usual else lead for size, lead in zip(sizes.tolist(), targets.lead, strict=True)]
    return dataclasses.replace(targets, deltas=reached * (usual / sizes) - outputs, lead=lead)


def _figures(edits: Sequence[Edit], goals: Sequence[tuple[int, Targets]]) -> dict[str, dict[str, Any]]:
    """What was measured while finding target states, with the reason where an edit did not get there."""
    table: dict[str, dict[str, Any]] = {}
    for layer, goal in goals:
        shifts = (goal.deltas.norm(dim=0) / goal.starts.norm(dim=0)).tolist()
        for place, edit in enumerate(edits):
            steps, loss, lead = goal.steps[place], goal.loss[place], goal.lead[place]
            told = table.setdefault(str(edit.id), {})
            told |= {"steps": steps, "loss": loss, "divergence": goal.divergence[place], "shift": shifts[place]}
            if loss != loss:
                told["problem"] = f"the loss became NaN after {steps} steps; lower the learning rate"
            elif not lead > 0:
                told["problem"] = (
                    f"no state of the subject in block {layer} leads to the target "
                    f"(loss {loss:.2f} after {steps} steps); "
                    "allow a larger clamp or more steps, or edit other layers"
                )
    return table
