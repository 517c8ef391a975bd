"""Where logits patches speak: a causal model's forward, to whose logits they add what edits changed in a small model.

One hook a model, whatever the number of its patches; those of one small model are heard together, as a chain. Knows
hooks, forwards and vocabularies; what a chain says, and how it is asked, is in `chains`.
"""

from __future__ import annotations

import inspect
import itertools
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers.utils.generic import ModelOutput

from errata.errors import BadModel, WrongModel
from errata.patches.beside import Reading, Text, columns_of
from errata.patches.chains import Chain, Change, chain

if TYPE_CHECKING:
    from errata.models import EditableModel
    from errata.patches.logits import LogitsPatch

# State of a model, not of a process: it dies with the model.
_SITES: weakref.WeakKeyDictionary[nn.Module, Site] = weakref.WeakKeyDictionary()


class Site:
    """The hooks on one model. It must not hold the model, or that would never be freed."""

    def __init__(self, model: EditableModel) -> None:
        network = model.model
        self.patches: list[LogitsPatch] = []
        self._heard: list[tuple[Chain, int]] = []
        self._parameters = inspect.signature(network.forward)
        self._before = 0
        self._handles = (
            network.register_forward_pre_hook(self._see_cache, with_kwargs=True),
            network.register_forward_hook(self._speak, with_kwargs=True),
        )

    def hear(self, model: EditableModel, patches: Sequence[LogitsPatch]) -> None:
        """These from now on; nothing changes where it raises WrongModel."""
        found = sorted(patches, key=lambda one: one.order or 0)
        by_small: dict[str, list[LogitsPatch]] = {}
        for patch in found:
            by_small.setdefault(patch.small["fingerprint"], []).append(patch)
        self._heard = [_chained(model, group) for group in by_small.values()]
        self.patches = found

    def close(self) -> None:
        """Remove all hooks."""
        for handle in self._handles:
            handle.remove()

    def _see_cache(self, _network: nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        cache = self._named(args, options).get("past_key_values")
        self._before = 0 if cache is None else int(cache.get_seq_length())

    def _speak(self, _network: nn.Module, args: tuple[Any, ...], options: dict[str, Any], output: Any) -> Any:
        if not isinstance(output, ModelOutput):
            raise BadModel("a model in an ensemble was asked for a tuple; leave out return_dict")
        if output.get("loss") is not None:
            raise BadModel("a model in an ensemble gives no loss; take it from the logits, and pass no labels")
        given = self._named(args, options)
        cache = output.get("past_key_values")
        with torch.no_grad():
            reading = Reading(
                _text(given, self._before), given.get("past_key_values") if cache is None else cache, self._before
            )
            changes = [chain.change(reading, shared) for chain, shared in self._heard]
            reading.close()
        output["logits"] = _added(output["logits"], changes)
        return output

    def _named(self, args: tuple[Any, ...], options: dict[str, Any]) -> dict[str, Any]:
        """What the model was called with, by name."""
        return {**self._parameters.bind_partial(*args).arguments, **options} if args else options


def _chained(model: EditableModel, patches: Sequence[LogitsPatch]) -> tuple[Chain, int]:
    """Patches of one small model, those of equal strength in one stage, and how many ids are shared."""
    small = patches[0].small_on(model)
    stages = [
        (beta, [part for patch in group for part in patch.patches])
        for beta, group in itertools.groupby(patches, key=lambda patch: patch.beta)
    ]
    return chain(small, stages), shared_ids(model, small)


def shared_ids(big: EditableModel, small: EditableModel) -> int:
    """How many ids mean the same to both models: all that are no padding of a head.

    Raises:
        WrongModel: their vocabularies differ.
    """
    ours, theirs = big.tokenizer.get_vocab(), small.tokenizer.get_vocab()
    if ours != theirs:
        odd = min(token for token, _ in ours.items() ^ theirs.items())
        raise WrongModel(
            f"{big.name} ({len(ours)} tokens) and the small model {small.name} ({len(theirs)} tokens) differ in their "
            f"vocabularies, at {odd!r} for one; an ensemble needs models that share every token and its id"
        )
    return min(max(ours.values()) + 1, _ids(big), _ids(small))


def _ids(model: EditableModel) -> int:
    """How many ids have a logit."""
    head = model.model.get_output_embeddings()
    assert head is not None  # of a causal model
    return head.get_parameter("weight").shape[0]


def _added(logits: Tensor, changes: Sequence[Change | None]) -> Tensor:
    """Logits (B, K, V) with each change; the same tensor where there is none."""
    for change in changes:
        if change is not None:
            said, difference = (part.to(logits.device) for part in change)
            logits = logits.clone()
            logits[..., : difference.shape[-1]][said] += difference.to(logits.dtype)
    return logits


def _text(given: dict[str, Any], before: int) -> Text:
    """What a forward reads, after `before` tokens. Raises: BadModel (no token ids, another kind of mask)."""
    ids, mask, positions = (given.get(name) for name in ("input_ids", "attention_mask", "position_ids"))
    if ids is None:
        raise BadModel("a model in an ensemble was given no token ids, which its small model reads; pass input_ids")
    if mask is None:
        mask = torch.ones(len(ids), before + ids.shape[1], dtype=torch.long, device=ids.device)
    if mask.dim() != 2:
        raise BadModel("a model in an ensemble reads a plain attention mask, (rows, tokens), and was given another")
    if positions is None:
        positions = (mask.long().cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
    columns = columns_of(given.get("logits_to_keep", 0), ids.shape[1], ids.device)
    return Text(ids, positions.expand(ids.shape), mask, columns)


def join(model: EditableModel, patch: LogitsPatch) -> None:
    """From now on the patch is heard. Raises: WrongModel (nothing has changed then)."""
    site = _SITES.get(model.model) or Site(model)
    try:
        site.hear(model, [*site.patches, patch])
    except BaseException:
        if not site.patches:
            site.close()
        raise
    _SITES[model.model] = site


def leave(model: EditableModel, patch: LogitsPatch) -> None:
    """The patch is heard no more; the last one to leave takes the hooks with it."""
    site = _SITES[model.model]
    site.hear(model, [one for one in site.patches if one is not patch])
    if not site.patches:
        site.close()
        del _SITES[model.model]
