"""A tiny GPT-2 that listens to a tiny Backpack, over one tokenizer, and patches of the Backpack to listen to."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from errata.models import EditableModel
from errata.patches.base import Patch
from errata.patches.logits import LogitsPatch
from errata.patches.senses import SensePatch
from errata.patches.weights import LowRank, WeightPatch
from tiny import tiny_model

TEXT = "The capital of France is Paris and"
WORDS = (5, 9, 2, 30, 68)  # tokens whose senses move
IDS = torch.tensor([[5, 9, 2, 9, 7, 30], [11, 4, 9, 8, 3, 2]])


def small() -> EditableModel:
    return tiny_model("backpack")


def big(arch: str = "gpt2") -> EditableModel:
    return tiny_model(arch)


def told(id: str) -> dict[str, Any]:
    return {"method": "made", "config": {}, "edits": [id]}


def sense_patch(id: str = "s1", words: tuple[int, ...] = WORDS, seed: int = 0) -> SensePatch:
    """Something is added to two senses of each word."""
    generator = torch.Generator().manual_seed(seed)
    pairs = torch.tensor([[word, sense] for word in words for sense in (3, 11)])
    vectors = torch.randn(len(pairs), 32, generator=generator)
    return SensePatch(pairs, vectors, 16, [list(range(len(pairs)))], **told(id))


def weight_patch(id: str = "w1", path: str = "transformer.trunk.h.1.mlp.c_proj.weight", seed: int = 1) -> WeightPatch:
    """Something is added to a matrix of the Backpack's trunk."""
    generator = torch.Generator().manual_seed(seed)
    low = LowRank(torch.randn(32, 1, generator=generator), torch.randn(1, 48, generator=generator) * 0.3)
    return WeightPatch({path: low}, **told(id))


def ensemble(model: EditableModel, patches: list[Patch], beta: float = 0.7) -> LogitsPatch:
    """The patch by which any big model listens to `model` under these patches; its edits are e1, e2, …."""
    ids = [id for patch in patches for id in patch.edits]
    edits = [f"e{number}" for number in range(1, len(ids) + 1)]
    return LogitsPatch.of(model, patches, beta, method="ensemble", config={}, edits=edits, ids=ids)


KINDS = {"senses": lambda: [sense_patch()], "weights": lambda: [weight_patch()],
         "both": lambda: [sense_patch(), weight_patch()]}  # fmt: skip


@torch.no_grad()
def logits_of(model: EditableModel, ids: Tensor) -> Tensor:
    return model.model(input_ids=ids).logits.clone()


def by_hand(large: EditableModel, little: EditableModel, patches: list[Patch], beta: float, ids: Tensor) -> Tensor:
    """The ensemble's equation, with models of its own."""
    edited = EditableModel(copy.deepcopy(little.model), little.tokenizer)
    for patch in patches:
        patch.attach(edited)
    change = logits_of(edited, ids).log_softmax(-1) - logits_of(little, ids).log_softmax(-1)
    return logits_of(large, ids) + beta * change
