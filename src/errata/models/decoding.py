"""Greedy decoding, written out: a model's own sampling settings and penalties must not colour a measurement.

Knows logits, end tokens and the model's key-value cache. It does not know text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from transformers.modeling_outputs import BaseModelOutput

from errata.models.encoding import end_id

if TYPE_CHECKING:
    from errata.models.editable import EditableModel
    from errata.models.encoding import Batch


@torch.no_grad()
def continue_greedily(
    model: EditableModel, batch: Batch, max_new_tokens: int, show: Callable[[list[int]], object] | None = None
) -> list[list[int]]:
    """The ids that follow each row of a left-padded batch, up to and without its end token.

    Stops early where the model can read no more positions. `show` is called with the newest id of every row, as soon
    as they are known and not all rows have ended.
    """
    stops = stop_ids(model)
    feed, state = start(model, batch)
    ended = torch.zeros(len(batch), dtype=torch.bool, device=model.device)
    chosen: list[torch.Tensor] = []
    for _ in range(_room(model, batch, max_new_tokens)):
        out = model.run({**feed, **state}, cached=True, keep=1)
        token = out.logits[:, -1].argmax(-1)
        chosen.append(token)
        ended |= torch.isin(token, stops)
        if ended.all():
            break
        if show is not None:
            show(token.tolist())
        advance(feed, state, token, out.get("past_key_values"))
    rows = torch.stack(chosen, 1).tolist() if chosen else [[] for _ in range(len(batch))]
    return [_until(row, stops.tolist()) for row in rows]


def start(model: EditableModel, batch: Batch) -> tuple[dict[str, Any], dict[str, Any]]:
    """What grows or is replaced by the newest token, and what accompanies it."""
    if model.task == "causal":
        inputs = model.inputs(batch)
        mask = inputs.pop("attention_mask")
        return inputs, {"attention_mask": mask}
    encoder = model.model.get_encoder()
    hidden = encoder(input_ids=batch.input_ids, attention_mask=batch.attention_mask)[0]
    return {"decoder_input_ids": batch.decoder_input_ids}, {
        "encoder_outputs": BaseModelOutput(last_hidden_state=hidden),
        "attention_mask": batch.attention_mask,
    }


def advance(feed: dict[str, Any], state: dict[str, Any], token: torch.Tensor, cache: Any) -> None:
    """With a cache the next step reads the new token alone; without one, everything up to it."""
    newest = token[:, None]
    if cache is not None:
        state["past_key_values"] = cache
    for name, ids in feed.items():
        following = ids[:, -1:] + 1 if name == "position_ids" else newest
        feed[name] = following if cache is not None else torch.cat([ids, following], 1)
    if "encoder_outputs" not in state:  # else the mask is the encoder's, which does not grow
        mask = state["attention_mask"]
        state["attention_mask"] = torch.cat([mask, torch.ones_like(newest)], 1)


def _room(model: EditableModel, batch: Batch, wanted: int) -> int:
    if model.context is None:
        return wanted
    read = batch.input_ids if batch.decoder_input_ids is None else batch.decoder_input_ids
    # The last token chosen is never read, hence one more than the free positions.
    return min(wanted, model.context - read.shape[1] + 1)


def stop_ids(model: EditableModel) -> torch.Tensor:
    """(n,): the ids that end an answer."""
    stops = {end_id(model)}
    listed = model.model.generation_config.eos_token_id if model.model.generation_config else None
    # A list was written for this model (a chat model's turn end); one id may be its config class's default.
    if isinstance(listed, list):
        stops.update(listed)
    if model.chat is not None and model.chat.end is not None:
        stops.add(model.chat.end)
    return torch.tensor(sorted(stops), device=model.device)


def _until(ids: list[int], stops: list[int]) -> list[int]:
    first = next((position for position, token in enumerate(ids) if token in stops), len(ids))
    return ids[:first]
