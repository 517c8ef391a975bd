"""Where patches of states listen: one hook on a block's output, and a look at the attention mask of the same forward.

Knows hooks and positions. It does not know how a state is recognised; it asks the patches at the block, in order.
Without a patch there is no hook.
"""

from __future__ import annotations

import inspect
import weakref
from bisect import insort
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from errata.models.hooks import replace_output
from errata.patches.records import listening
from errata.patches.search import Hits

if TYPE_CHECKING:
    from errata.models import EditableModel
    from errata.patches.states import StatePatch

_SITES: weakref.WeakKeyDictionary[nn.Module, dict[int, Site]] = weakref.WeakKeyDictionary()


def join(model: EditableModel, patch: StatePatch) -> None:
    """From now on `patch` is asked at its block."""
    patch.prepare(model.device)  # the work is done here rather than in the first forward
    found = _SITES.setdefault(model.model, {})
    if patch.layer not in found:
        found[patch.layer] = Site(model, patch.layer)
    insort(found[patch.layer].patches, patch, key=lambda one: one.order or 0)


def leave(model: EditableModel, patch: StatePatch) -> None:
    """`patch` is asked no more; the last one to leave takes the hooks with it."""
    found = _SITES[model.model]
    site = found[patch.layer]
    site.patches.remove(patch)
    if not site.patches:
        site.close()
        del found[patch.layer]


class Site:
    """The hooks at one block of one model. It must not hold the model, or that would never be freed."""

    def __init__(self, model: EditableModel, layer: int) -> None:
        self.patches: list[StatePatch] = []
        self.looks_at: Literal["all", "last", "first"] = "first" if model.task == "classification" else "last"
        if model.arch.causal(layer):
            self.looks_at = "all"
        path = model.arch.blocks[layer]
        stack = _stack(model.model, path)
        names = list(inspect.signature(stack.forward).parameters)
        self.mask: Tensor | None = None
        self._mask_at = names.index("attention_mask") if "attention_mask" in names else len(names)
        self._handles = (
            replace_output(model.model.get_submodule(path), self.answer),
            stack.register_forward_pre_hook(self._see_mask, with_kwargs=True),
            stack.register_forward_hook(self._forget_mask, always_call=True),
        )

    def close(self) -> None:
        """Remove all hooks."""
        for handle in self._handles:
            handle.remove()

    def answer(self, hidden: Tensor) -> Tensor:
        """The hidden state (B, T, d) with what the patches recognise replaced."""
        for patch in self.patches:
            hidden = self._replaced(patch, hidden)
        return hidden

    def _replaced(self, patch: StatePatch, hidden: Tensor) -> Tensor:
        states = hidden.detach().reshape(-1, hidden.shape[-1])
        asked = None
        if self.looks_at != "all":
            asked = self._one_a_row(hidden)
            states = states[asked]
        hits = patch.hits(states)
        if hits is None:
            return hidden
        places = hits.states if asked is None else asked.cpu()[hits.states]
        real = self._real(hidden)
        if real is not None:
            kept = real.cpu().flatten()[places]
            hits, places = Hits(*(part[kept] for part in hits)), places[kept]
        if not len(places):
            return hidden
        self._record(patch, hits, places, hidden)
        changed = hidden.reshape(-1, hidden.shape[-1]).clone()
        where = places.to(hidden.device)
        changed[where] = patch.replacements(changed[where].detach(), hits).to(hidden.device, hidden.dtype)
        return changed.view(hidden.shape)

    def _one_a_row(self, hidden: Tensor) -> Tensor:
        """(B,): where in the flattened (B * T) states a row is looked up."""
        rows, columns = hidden.shape[:2]
        starts = torch.arange(0, rows * columns, columns, device=hidden.device)
        real = self._real(hidden)
        if self.looks_at == "first":
            return starts if real is None else starts + real.int().argmax(1)
        return starts + columns - 1 - (0 if real is None else real.flip(1).int().argmax(1))

    def _real(self, hidden: Tensor) -> Tensor | None:
        """(B, T) bool, False at padding; None if the forward was given no plain mask."""
        mask, (rows, columns) = self.mask, hidden.shape[:2]
        if mask is None or len(mask) != rows or mask.shape[1] < columns:
            return None
        return mask[:, -columns:].to(hidden.device) != 0  # with a KV cache the mask covers the past too

    def _record(self, patch: StatePatch, hits: Hits, places: Tensor, hidden: Tensor) -> None:
        lists = listening(patch)
        if not lists:
            return
        columns = hidden.shape[1]
        past = 0 if self._real(hidden) is None or self.mask is None else self.mask.shape[1] - columns
        states = hidden.detach().reshape(-1, hidden.shape[-1])
        for place, row, distance in zip(places.tolist(), hits.rows.tolist(), hits.distances.tolist(), strict=True):
            at = (place // columns, past + place % columns)
            firing = patch.firing(states[place], row, distance, at)
            for firings in lists:
                firings.append(firing)

    def _see_mask(self, _module: nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        given: Any = options.get("attention_mask", args[self._mask_at] if self._mask_at < len(args) else None)
        self.mask = given if isinstance(given, Tensor) and given.dim() == 2 else None

    def _forget_mask(self, _module: nn.Module, _args: Any, _output: Any) -> None:
        self.mask = None


def _stack(network: nn.Module, path: str) -> nn.Module:
    """The innermost module around a block that is a model of its own: it is handed the mask as the user gave it."""
    parents = [path.rsplit(".", count)[0] for count in range(1, path.count(".") + 1)]
    around = (network.get_submodule(parent) for parent in parents)
    return next((module for module in around if isinstance(module, PreTrainedModel)), network)
