"""Which blocks `layer="auto"` stands for: those whose restoration at the last subject token brings most of a fact back.

Traces once for each model, with every patch off, and keeps the answer in the cache. Knows tracing and the cache;
what is then edited there is no concern here.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from torch import nn

from errata.errors import BadConfig, BadEdit
from errata.locate.effects import Curve
from errata.locate.facts import Fact, default_facts, facts_of
from errata.locate.study import study
from errata.locate.traces import Settings
from errata.locate.tracing import traced_blocks
from errata.models import EditableModel
from errata.patches.original import patches_off
from errata.statistics.cache import address, fetch, store
from errata.statistics.identity import original_fingerprint

AT = "last subject token"

# State of a model, not of a process.
_DEFAULTS: weakref.WeakKeyDictionary[nn.Module, tuple[str, Sequence[Fact]]] = weakref.WeakKeyDictionary()
_VERSION = 1  # of the computation: another one must not answer from an older one's results


@dataclass(frozen=True)
class Choice:
    """The blocks chosen, and why.

    Attributes:
        layers: the blocks, in order.
        by: what was restored, "mlp" or "state".
        effect: average indirect effect at the last subject token, by block, with its band and number of facts.
        total: average total effect: what there was to bring back.
        window: blocks whose MLPs were restored together.
        source: the facts' data set.
        seed: of the facts' order and of the noise.
    """

    layers: list[int]
    by: str
    effect: Curve
    total: float
    window: int
    source: str
    seed: int

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def auto_layers(
    model: EditableModel,
    *,
    by: Literal["mlp", "state"] = "mlp",
    n: int = 1,
    facts: Sequence[Fact] | None = None,
    most: int = 25,
    seed: int = 0,
    progress: bool = False,
) -> Choice:
    """The `n` consecutive blocks with the largest sum of average indirect effects at the last subject token.

    By default the facts are a lab model's own (those of the split "calibrate", which nothing is evaluated on), else
    known-1000; up to `most` that the model knows are traced. For an encoder-decoder the blocks are the encoder's.

    Raises:
        BadConfig: the model is a classifier, or has fewer blocks.
        BadEdit: the model knows none of the facts; pass some that it knows, or name the layer.
    """
    blocks = traced_blocks(model)
    if by not in ("mlp", "state"):
        raise BadConfig(f"'by' is '{by}'; it must be mlp or state")
    if not 1 <= n <= len(blocks):
        raise BadConfig(f"'n' is {n}; the model has {len(blocks)} blocks to choose from")
    source, given = "the facts given", facts
    if given is None:
        source, given = _default_facts(model)
    card = _evidence(model, by, given, most, seed, progress)
    effect = Curve(**card["effect"])
    sums = [sum(effect.mean[start : start + n]) for start in range(len(blocks) - n + 1)]
    first = max(range(len(sums)), key=sums.__getitem__)
    layers = list(blocks[first : first + n])
    return Choice(layers, by, effect, card["total"], card["window"], source, seed)


def _default_facts(model: EditableModel) -> tuple[str, Sequence[Fact]]:
    """Read once for each model: methods that edit one at a time ask for the blocks at every edit."""
    if model.model not in _DEFAULTS:
        source, edits = default_facts(model, split="calibrate")
        _DEFAULTS[model.model] = (source, facts_of(edits, source))
    return _DEFAULTS[model.model]


def _evidence(
    model: EditableModel, by: str, facts: Sequence[Fact], most: int, seed: int, progress: bool
) -> dict[str, Any]:
    settings = Settings(seed=seed)
    key = {
        "version": _VERSION, "model": original_fingerprint(model), "by": by, "most": most, **asdict(settings),
        "facts": sorted(fact.key for fact in facts),
    }  # fmt: skip
    entry = address("locate", key)
    kept = fetch(entry)
    if kept is not None:
        if "problem" in kept[1]:
            raise BadEdit(kept[1]["problem"])
        return kept[1]
    try:
        with patches_off(model):
            found = study(model, facts, n=most, settings=settings, kinds=[by], classes=[AT], progress=progress)
    except BadEdit as error:  # all the facts were asked for this: not again
        store(entry, {}, {"problem": str(error)})
        raise
    effects = found.effects()
    card = {
        "effect": asdict(effects.indirect[by][AT]),
        "total": effects.total.mean[0],
        "window": found.window,
    }
    store(entry, {}, card)
    return card
