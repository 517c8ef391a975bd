"""Where patches that are bound to questions follow a conversation: a hook before the model reads, and one on every
module that they change.

The text so far travels in the model's cache (`transcript`), so that what is answered does not depend on padding,
batches, chunks or caches. Without a patch there is no hook. Knows hooks, rows and columns; which edit answers a
question, the patches tell.
"""

from __future__ import annotations

import copy
import inspect
import weakref
from bisect import insort
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers.cache_utils import Cache

from errata.errors import BadModel
from errata.models.hooks import hidden_of, with_hidden
from errata.patches.places import CONTINUED, Place, Row
from errata.patches.records import listening
from errata.patches.states import Firing
from errata.patches.transcript import Transcript, put, real_columns, take
from errata.patches.turns import Turn, turns

if TYPE_CHECKING:
    from errata.models import EditableModel
    from errata.patches.asked import AskedPatch

_SITES: weakref.WeakKeyDictionary[nn.Module, Site] = weakref.WeakKeyDictionary()


def join(model: EditableModel, patch: AskedPatch[Any]) -> None:
    """From now on `patch` answers."""
    if model.model not in _SITES:
        _SITES[model.model] = Site(model)
    _SITES[model.model].add(patch)


def leave(model: EditableModel, patch: AskedPatch[Any]) -> None:
    """`patch` answers no more; the last one to leave takes the hooks with it."""
    site = _SITES[model.model]
    site.remove(patch)
    if not site.patches:
        site.close()
        del _SITES[model.model]


class Site:
    """The hooks on one model. It must not hold the model, or that would never be freed."""

    def __init__(self, model: EditableModel) -> None:
        network = model.model
        self.patches: list[AskedPatch[Any]] = []
        # What deciding needs of the model, without its weights' owner: that would keep itself alive.
        self._bare = copy.copy(model)
        del self._bare.model
        self._network = weakref.ref(network)
        self._parameters = inspect.signature(network.forward)
        self._arch = model.arch
        self._places: list[Place] = []
        self._rows: list[Row] = []
        self._kept: Transcript | None = None
        self._hooks: dict[str, Any] = {}  # by the path of the module
        self._handles = (
            network.register_forward_pre_hook(self._read, with_kwargs=True),
            network.register_forward_hook(self._put_back, with_kwargs=True, always_call=True),
        )

    def add(self, patch: AskedPatch[Any]) -> None:
        insort(self.patches, patch, key=lambda one: one.order or 0)
        path = patch.module(self._arch)
        if path not in self._hooks:
            module = self._model().model.get_submodule(path)
            self._hooks[path] = module.register_forward_hook(partial(self._change, path))

    def remove(self, patch: AskedPatch[Any]) -> None:
        self.patches.remove(patch)
        path = patch.module(self._arch)
        if all(other.module(self._arch) != path for other in self.patches):
            self._hooks.pop(path).remove()

    def close(self) -> None:
        """Remove all hooks."""
        for handle in (*self._handles, *self._hooks.values()):
            handle.remove()

    # -- hooks ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _read(self, _network: nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        given = {**self._parameters.bind_partial(*args).arguments, **options} if args else options
        ids, cache = given.get("input_ids"), given.get("past_key_values")
        if ids is None:
            raise BadModel("edits that are bound to questions need the token ids; pass input_ids, not embeddings")
        before = 0 if cache is None else int(cache.get_seq_length())
        seen, self._kept = take(cache, ids, before)
        real = real_columns(given.get("attention_mask"), seen)
        self._rows = [Row.of(*row, before) for row in zip(range(len(seen)), seen.cpu(), real.cpu(), strict=True)]
        self._places = [place for row in self._rows for place in self._found(row)]

    def _put_back(self, _network: nn.Module, args: tuple[Any, ...], options: dict[str, Any], output: Any) -> None:
        kept, self._kept, self._places, self._rows = self._kept, None, [], []
        given = {**self._parameters.bind_partial(*args).arguments, **options} if args else options
        cache = getattr(output, "past_key_values", None) if output is not None else None
        cache = given.get("past_key_values") if cache is None else cache
        if kept is not None and isinstance(cache, Cache):
            put(cache, kept)

    def _change(self, path: str, _module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        """The output of a module with its hidden state, (B, T, d), changed where an edit answers."""
        hidden = hidden_of(output)
        found: list[Place] = []
        for patch in self.patches:  # later ones stand, and what a message asks for stands before what a sentence does
            if self._kept is not None and patch.module(self._arch) == path:
                marks = self._kept.marks(int(self._kept.get_seq_length()))
                found += patch.places_in_text(self._model(), self._rows, marks, hidden)
        found += [place for place in self._places if place.patch.module(self._arch) == path]
        if not found:
            return output
        chosen = {(place.row, place.column): place for place in found}.values()
        self._record(list(chosen))
        changed = hidden.clone()
        for patch in dict.fromkeys(place.patch for place in chosen):
            places = [place for place in chosen if place.patch is patch]
            at = [place.row for place in places], [place.column for place in places]
            states = patch.states(places, hidden[at], args[0][at] if args else None)
            changed[at] = states.to(hidden.device, hidden.dtype)
        return with_hidden(output, changed)

    # -- finding -------------------------------------------------------------------------------------------------

    def _found(self, row: Row) -> list[Place]:
        """Places of one row at which a question of the conversation is answered."""
        if (chat := self._bare.chat) is None:
            return []
        places: dict[int, Place] = {}
        for turn in turns(row.ids, chat, after=row.start):
            for patch in self.patches:  # later ones come last, and stand
                places |= {place.index: place for place in self._answering(patch, turn, row)}
        return list(places.values())

    def _answering(self, patch: AskedPatch[Any], turn: Turn, row: Row) -> list[Place]:
        """Places at which an edit of the patch answers the question of a turn."""
        decision = patch.decide(self._model(), turn.question, turn.earlier)
        if decision.entry is None:
            return []
        return patch.places(row, turn, decision.entry, decision.scores[0][1])

    def _model(self) -> EditableModel:
        network = self._network()
        assert network is not None
        model = copy.copy(self._bare)
        model.model = network
        return model

    def _record(self, places: Sequence[Place]) -> None:
        for place in places:
            if place.score == CONTINUED:
                continue
            for firings in listening(place.patch):
                layer, edit = place.patch.layer, place.entry.edit
                firings.append(Firing(place.row, place.position, edit, -place.score, 0.0, layer, place.score))
