"""Routers with networks that nobody trained, on tiny models, and what they have to say by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from errata.models import Batch, EditableModel
from errata.patches.networks import Networks, Placed, Sizes, text_ids
from errata.patches.router import Entry, RouterPatch
from tiny import tiny_model

PROMPT, OTHER, THIRD = "The capital of France is", "Who wrote the book?", "Madrid and Vienna are cities in"
SIZES = Sizes(scope_blocks=1, blocks=2, width=8)
BOTH = pytest.mark.parametrize("arch", ["t5", "bert"])


def entry(placed: Placed, model: EditableModel, id: str, prompt: str, target: str, near: str = "") -> Entry:
    """An edit whose embedding is that of the prompt `near` alone, which is then in its scope for certain."""
    with torch.no_grad():
        embedding = placed.embed([text_ids(model, near or prompt.strip())])[0]
    return Entry(id, prompt, embedding, tuple(placed.context(model, f"{prompt} {target}")))


def router(model: EditableModel, *told: tuple[str, str, str], threshold: float = 0.95) -> RouterPatch:
    """A router of untrained networks and edits (id, prompt, target)."""
    placed = Placed.fresh(model, SIZES)
    entries = [entry(placed, model, *one) for one in told]
    networks = Networks(SIZES, placed.tensors())
    return RouterPatch(
        entries, networks, threshold=threshold, method="serac", config={}, edits=[one.edit for one in entries]
    )


def attached(arch: str, *told: tuple[str, str, str]) -> tuple[EditableModel, RouterPatch]:
    model = tiny_model(arch)
    patch = router(model, *(told or [("a", PROMPT, "yes")]))
    patch.attach(model)
    return model, patch


def beside(model: EditableModel, patch: RouterPatch, number: int, prompt: str) -> Tensor:
    """What the counterfactual model says to an edit, its end token, and a prompt: read by hand, alone."""
    placed = patch.networks.on(model)
    context = list(patch.entries[number].context)
    row = text_ids(model, prompt)
    ids = [*row[:1], *context, *row[1:]] if model.task == "classification" else [*context, *row]
    inputs = {"input_ids": torch.tensor([ids])}
    if model.task == "seq2seq":
        inputs["decoder_input_ids"] = torch.tensor([[model.model.config.decoder_start_token_id]])
    with torch.no_grad():
        return placed.counterfactual(**inputs).logits


def ids(batch: Batch) -> dict[str, Tensor]:
    return {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
