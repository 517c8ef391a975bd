"""Where routers listen: on a model's forward, whose logits they replace row by row, and on its encoder.

An encoder-decoder's prompt is read once and answered over many forwards. Who answers is decided when the encoder runs,
and travels with what it returned. Knows hooks, batches and caches; which rows are whose, the routers tell. Without a
router there is no hook.
"""

from __future__ import annotations

import inspect
import weakref
from bisect import insort
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary
from transformers import Cache
from transformers.modeling_outputs import BaseModelOutput

from errata.errors import BadModel
from errata.models.hooks import hidden_of
from errata.patches.networks import Placed
from errata.patches.records import listening
from errata.patches.states import Firing

if TYPE_CHECKING:
    from errata.models import EditableModel
    from errata.patches.router import RouterPatch

_ROUTINGS: weakref.WeakKeyDictionary[nn.Module, Routing] = weakref.WeakKeyDictionary()


def join(model: EditableModel, patch: RouterPatch, placed: Placed) -> None:
    """From now on `patch` is asked, and answers by its networks."""
    if model.model not in _ROUTINGS:
        _ROUTINGS[model.model] = Routing(model)
    _ROUTINGS[model.model].add(patch, placed)


def leave(model: EditableModel, patch: RouterPatch) -> None:
    """`patch` is asked no more; the last one to leave takes the hooks with it."""
    routing = _ROUTINGS[model.model]
    routing.remove(patch)
    if not routing.patches:
        routing.close()
        del _ROUTINGS[model.model]


@dataclass(eq=False)
class Route:
    """Rows (r,) of a batch that a counterfactual model answers, and what it reads for them: ids and mask (r, T)."""

    placed: Placed
    rows: Tensor
    ids: Tensor
    mask: Tensor
    encoded: Tensor | None = None

    def labels(self) -> Tensor:
        """(r, C): logits of a classifier."""
        return self.placed.counterfactual(input_ids=self.ids, attention_mask=self.mask).logits

    def continued(self, written: Tensor, mask: Tensor | None, past: Cache | None, cached: bool) -> Any:
        """The output for what the decoder reads now, (r, S)."""
        if self.encoded is None:
            encoder = self.placed.counterfactual.get_encoder()
            self.encoded = hidden_of(encoder(input_ids=self.ids, attention_mask=self.mask)[0])
        return self.placed.counterfactual(
            encoder_outputs=BaseModelOutput(last_hidden_state=self.encoded), attention_mask=self.mask,
            decoder_input_ids=written, decoder_attention_mask=mask, past_key_values=past, use_cache=cached,
        )  # fmt: skip


class Routing:
    """The hooks on one model. It must not hold the model, or that would never be freed."""

    def __init__(self, model: EditableModel) -> None:
        network = model.model
        self.patches: list[RouterPatch] = []
        self._placed: dict[RouterPatch, Placed] = {}
        self._network = weakref.ref(network)
        self._blocks = [(path, weakref.ref(network.get_submodule(path))) for path in model.arch.blocks]
        self._routes = WeakTensorKeyDictionary()  # by what the encoder returned
        self._pasts: weakref.WeakKeyDictionary[Cache, list[Cache | None]] = weakref.WeakKeyDictionary()
        if model.task == "seq2seq":
            encoder = network.get_encoder()
            self._handles = [
                network.register_forward_hook(self._write, with_kwargs=True),
                encoder.register_forward_hook(self._read, with_kwargs=True),
            ]
        else:
            self._handles = [network.register_forward_hook(self._classify, with_kwargs=True)]

    def close(self) -> None:
        """Remove all hooks."""
        for handle in self._handles:
            handle.remove()

    def add(self, patch: RouterPatch, placed: Placed) -> None:
        insort(self.patches, patch, key=lambda one: one.order or 0)
        self._placed[patch] = placed
        self._forget()

    def remove(self, patch: RouterPatch) -> None:
        self.patches.remove(patch)
        del self._placed[patch]
        self._forget()

    def _forget(self) -> None:
        """What was decided by other patches holds no more."""
        self._routes.clear()
        self._pasts.clear()

    # -- hooks ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _read(self, encoder: nn.Module, args: tuple[Any, ...], options: dict[str, Any], output: Any) -> None:
        given = _named(encoder, args, options)
        if given.get("input_ids") is not None and not self._in_part():
            self._routes[output[0]] = self._decided(given)

    def _classify(self, network: nn.Module, args: tuple[Any, ...], options: dict[str, Any], output: Any) -> Any:
        if self._in_part():
            return None
        with torch.no_grad():
            answers = [(route.rows, route.labels()) for route in self._decided(_named(network, args, options))]
        return _replaced(output, answers)

    def _write(self, network: nn.Module, args: tuple[Any, ...], options: dict[str, Any], output: Any) -> Any:
        if self._in_part():
            return None
        with torch.no_grad():
            answers = self._written(_named(network, args, options), output)
        return _replaced(output, answers)

    # -- who answers, and what -----------------------------------------------------------------------------------

    def _in_part(self) -> bool:
        """Whether some blocks have stand-ins: then the model is looked at from inside, and answers nobody."""
        network = self._network()
        return network is None or any(network.get_submodule(path) is not block() for path, block in self._blocks)

    def _decided(self, given: dict[str, Any]) -> list[Route]:
        """Which rows are in the scope of an edit; the newest router is asked first."""
        ids = given.get("input_ids")
        if ids is None:
            raise BadModel("a routed model was given no token ids to tell whose prompt it is; pass input_ids")
        mask = given.get("attention_mask")
        real = (torch.ones_like(ids) if mask is None or mask.dim() != 2 else mask).cpu() != 0
        rows = [row[kept].tolist() for row, kept in zip(ids.cpu(), real, strict=True)]
        free = [place for place, row in enumerate(rows) if row]
        routes = []
        for patch in reversed(self.patches):
            placed = self._placed[patch]
            claims = patch.claims(placed, [rows[place] for place in free])
            if not claims:
                continue
            places = [free[claim.row] for claim in claims]
            for lists in listening(patch):
                lists += [
                    Firing(place, int(real[place].nonzero()[-1]), one.entry.edit, one.distance, patch.radius(placed), 0)
                    for place, one in zip(places, claims, strict=True)
                ]
            fed = [placed.edited(one.entry.context, rows[place]) for place, one in zip(places, claims, strict=True)]
            routes.append(Route(placed, torch.tensor(places, device=ids.device), *placed.padded(fed)))
            free = [place for place in free if place not in places]
        return routes

    def _written(self, given: dict[str, Any], output: Any) -> list[tuple[Tensor, Tensor]]:
        """Rows and logits of what counterfactual decoders write next."""
        routes = self._routes.get(output.encoder_last_hidden_state)
        if routes is None:
            routes = self._routes[output.encoder_last_hidden_state] = self._known(given)
        if not routes:
            return []
        ids, mask = given.get("decoder_input_ids"), given.get("decoder_attention_mask")
        if ids is None:
            raise BadModel("a routed model needs decoder_input_ids; take a loss from its logits, not from labels")
        cache = output.past_key_values
        pasts = [None] * len(routes) if cache is None else self._past(cache, ids.shape[1], len(routes))
        answers = []
        for number, route in enumerate(routes):
            rows = route.rows
            out = route.continued(ids[rows], None if mask is None else mask[rows], pasts[number], cache is not None)
            pasts[number] = out.past_key_values
            answers.append((rows, out.logits[:, _kept(given)]))
        return answers

    def _known(self, given: dict[str, Any]) -> list[Route]:
        if given.get("input_ids") is None:
            raise BadModel(
                "a routed model cannot tell which prompts these encoder outputs belong to; write one answer a prompt, "
                "greedily or by sampling, without beams"
            )
        return self._decided(given)

    def _past(self, cache: Cache, new: int, count: int) -> list[Cache | None]:
        """The counterfactual decoders' own caches, which go with the model's."""
        before = int(cache.get_seq_length()) - new
        pasts = self._pasts.setdefault(cache, [None] * count)
        if before != (0 if pasts[0] is None else int(pasts[0].get_seq_length())):
            raise BadModel("a routed model cannot follow a cache that was cut or made elsewhere; decode from the start")
        return pasts


def _named(module: nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> dict[str, Any]:
    """What a module was called with, by name."""
    return {**inspect.signature(module.forward).bind_partial(*args).arguments, **options}


def _kept(given: dict[str, Any]) -> Any:
    """The columns whose logits were asked for."""
    keep = given.get("logits_to_keep", 0)
    return slice(-keep if keep else None, None) if isinstance(keep, int) else keep


def _replaced(output: Any, answers: list[tuple[Tensor, Tensor]]) -> Any:
    """The output with these rows of its logits in place of the model's; None where there are none."""
    if not answers:
        return None
    if output.get("loss") is not None:
        raise BadModel("a routed model gives no loss; take it from the logits, and pass no labels")
    logits = output.logits.clone()
    for rows, fresh in answers:
        logits[rows] = fresh.to(logits.device, logits.dtype)
    output["logits"] = logits
    return output
