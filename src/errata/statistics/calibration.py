"""How near is near: for every block of a model, the metric and the radius at which wordings of one fact are told from
other facts.

The metric is learned on some facts and the radius measured on others, all with every patch off. Knows models, facts in
several wordings and the cache. It knows no edit and no method.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from errata.models import EditableModel
from errata.models.encoding import prompt_ids
from errata.patches.metric import Metric
from errata.patches.original import patches_off
from errata.statistics import cache, kept
from errata.statistics.asking import read_states, text_states
from errata.statistics.corpus import Corpus
from errata.statistics.discriminant import discriminant
from errata.statistics.identity import original_fingerprint
from errata.statistics.phrasings import Phrasings
from errata.statistics.separation import Separation, safe, separation

KIND = "separation"
ENOUGH = 60  # facts in two or more wordings, below which nothing is learned
LEARNING = 0.6  # share of the facts that the metric is learned on
MOST = 8  # blocks that are looked at where nobody names one
ALIKE = 0.01  # a difference in what blocks catch that is none
SEPARABLE = 0.2  # of the wordings must be caught, or the block is no place for keys


def candidates(model: EditableModel) -> list[int]:
    """Blocks that could hold keys: of the stack that answers, from a quarter of its depth to the last but one."""
    stack = model.arch.stack(len(model.arch) - 1)
    first, last = stack.start + len(stack) // 4, stack.stop - 2
    if last - first < MOST:
        return list(range(min(first, last), last + 1)) if last >= stack.start else [stack.start]
    return sorted({round(first + place * (last - first) / (MOST - 1)) for place in range(MOST)})


def best(found: Mapping[int, Separation]) -> Separation:
    """The last block, which is the cheapest, of those that catch about as many wordings as any."""
    most = max(one.caught for one in found.values())
    return max((one for one in found.values() if one.caught >= most - ALIKE), key=lambda one: one.layer)


def calibrate(
    model: EditableModel,
    layers: Sequence[int],
    phrasings: Phrasings,
    text: Corpus,
    *,
    progress: bool = False,
) -> dict[int, Separation]:
    """What each of the blocks makes of the facts, computed or from the cache; the original model's, patches off.

    With too few facts, or where a block does not tell them apart, the radius is a small one in which hardly more than
    the very same state lies, and `Separation.warning` says so.
    """
    entries = _entries(model, layers, phrasings, text)
    found = {layer: known for layer, entry in entries.items() if (known := _known(entry, layer))}
    if missing := [layer for layer in layers if layer not in found]:
        with patches_off(model), model.preserved():
            measured = _measure(model, missing, phrasings, text, progress)
        for layer, one in measured.items():
            found[layer] = one
            _store(entries[layer], one, phrasings, text)
    return {layer: found[layer] for layer in layers}


def is_calibrated(model: EditableModel, layer: int, phrasings: Phrasings, text: Corpus) -> bool:
    """Whether `calibrate` would find this block on disk."""
    return cache.read_card(_entries(model, [layer], phrasings, text)[layer]) is not None


def _measure(
    model: EditableModel, layers: Sequence[int], phrasings: Phrasings, text: Corpus, progress: bool
) -> dict[int, Separation]:
    facts = phrasings.facts
    prompts = [prompt for fact in facts for prompt in fact.prompts]
    number = torch.tensor([place for place, fact in enumerate(facts) for _ in fact.prompts], dtype=torch.long)
    states = read_states(model, prompts, layers, progress=progress)
    if len(facts) < ENOUGH:
        warning = (
            f"{phrasings.name} holds {len(facts)} facts in two or more wordings, {ENOUGH - len(facts)} fewer than it "
            "takes to calibrate; edits answer hardly more than their own prompts"
        )
        return {layer: safe(layer, states[layer], len(facts), warning) for layer in layers}
    prose = text_states(model, text, layers)
    split = round(LEARNING * len(facts))
    learned = number < split
    measured = {}
    for layer in layers:
        metric = discriminant(states[layer][learned], number[learned])
        one = separation(layer, metric, states[layer], learned, facts[split:], prose[layer])
        if one.caught < SEPARABLE:
            warning = (
                f"block {layer} tells wordings of a fact from other facts for {one.caught:.0%} of them only; edits "
                "answer hardly more than their own prompts"
            )
            one = safe(layer, states[layer], one.facts, warning)
        measured[layer] = one
    return measured


# Cache.

_TENSORS = ("own", "foreign", "related", "text", "background")


def _entries(model: EditableModel, layers: Sequence[int], phrasings: Phrasings, text: Corpus) -> dict[int, Path]:
    """Where each block's is kept. Telling the model takes time, so it is told once for all of them."""
    key = {
        "version": 1,
        "model": original_fingerprint(model),
        "reads": prompt_ids(model, ["It reads this."])[0],  # one set of weights may come with two tokenizers
        "facts": phrasings.digest,
        "text": text.digest,
    }
    return {layer: cache.address(KIND, {**key, "layer": layer}) for layer in layers}


def _known(entry: Path, layer: int) -> Separation | None:
    held = kept.find((KIND, entry.name))
    if held is not None or (stored := cache.fetch(entry)) is None:
        return held
    tensors, card = stored
    metric = Metric(tensors["metric"]) if "metric" in tensors else None
    parts = {name: tensors[name] for name in _TENSORS}
    found = Separation(layer, metric, card["radius"], **parts, facts=card["facts"], warning=card["warning"])
    return _hold(entry, found)


def _store(entry: Path, found: Separation, phrasings: Phrasings, text: Corpus) -> None:
    tensors = {name: getattr(found, name) for name in _TENSORS}
    if found.metric:
        tensors["metric"] = found.metric.matrix
    cache.store(entry, tensors, {**found.summary(), "name": phrasings.name, "corpus": text.name})
    _hold(entry, found)


def _hold(entry: Path, found: Separation) -> Separation:
    return kept.hold((KIND, entry.name), found, found.background.nbytes + (found.metric.size if found.metric else 0))
