"""What a block's down-projection reads and writes on general text: a mean, typical sizes and a sample of its inputs.

What lies far from the mean tells a token from ordinary ones, and the sizes let one set of defaults suit any model.
Knows models without their patches, text and the cache. It knows no edit and no method.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from errata.errors import BadModel
from errata.models import Batch, EditableModel
from errata.models.encoding import prompt_ids
from errata.models.hooks import capture
from errata.models.prefix import Prefix
from errata.patches.original import patches_off
from errata.statistics import cache, kept
from errata.statistics.collecting import batches
from errata.statistics.corpus import Corpus
from errata.statistics.identity import original_fingerprint

KIND = "background"
TOKENS = 8192  # that are read
SAMPLE = 1024  # of them, at most, whose inputs are kept


@dataclass(frozen=True, eq=False)
class Background:
    """Of the tokens at which the block is looked at: all of a causal stack, a decoder's first, a classifier's [CLS].

    Attributes:
        mean: (d_in,) float32, of what the down-projection reads.
        inputs: (n, d_in) float32, a sample of it, evenly spaced over the text.
        read, written: median L2 norms of what it reads and writes.
    """

    mean: Tensor
    inputs: Tensor
    read: float
    written: float


def background(model: EditableModel, layer: int, corpus: Corpus) -> Background:
    """The background of a block, computed with every patch off, or from the cache.

    Raises:
        BadConfig: the block has no down-projection.
        BadModel: what it reads is not finite, or nothing at all.
    """
    path = model.arch.matrix(layer, "mlp_down")
    key = {
        "version": 1, "model": original_fingerprint(model), "reads": prompt_ids(model, ["It reads this."])[0],
        "text": corpus.digest, "layer": layer, "tokens": TOKENS,
    }  # fmt: skip
    entry = cache.address(KIND, key)
    held = kept.find((KIND, entry.name))
    if held is not None:
        return held
    found = _fetched(entry)
    if found is None:
        with patches_off(model), model.preserved():
            found = _measured(model, layer, path, corpus)
        sizes = {"read": found.read, "written": found.written}
        cache.store(entry, {"mean": found.mean, "inputs": found.inputs}, {**sizes, "corpus": corpus.name})
    return kept.hold((KIND, entry.name), found, found.inputs.nbytes)


def looked_at(model: EditableModel, batch: Batch, layer: int) -> Tensor:
    """(B, T) bool: the columns of the block's states at which an answer can be changed."""
    if model.arch.causal(layer):
        read = batch.attention_mask if batch.decoder_input_ids is None else torch.ones_like(batch.decoder_input_ids)
        return read.bool()
    columns = torch.arange(batch.input_ids.shape[1], device=batch.query.device)
    return columns == batch.query[:, None]


def _fetched(entry: Path) -> Background | None:
    stored = cache.fetch(entry)
    if stored is None:
        return None
    tensors, card = stored
    return Background(tensors["mean"], tensors["inputs"], card["read"], card["written"])


@torch.no_grad()
def _measured(model: EditableModel, layer: int, path: str, corpus: Corpus) -> Background:
    read, written = zip(*_seen(model, layer, path, corpus), strict=True)
    inputs = torch.cat(read)
    if not len(inputs) or not inputs.isfinite().all():
        raise BadModel(f"what block {layer} reads on '{corpus.name}' is empty or not finite; use intact weights")
    step = -(-len(inputs) // SAMPLE)
    norms = inputs.norm(dim=1).median(), torch.cat(written).median()
    return Background(inputs.mean(0), inputs[::step].clone(), *(max(float(norm), 1e-6) for norm in norms))


def _seen(model: EditableModel, layer: int, path: str, corpus: Corpus) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs (n, d_in) of the matrix, and norms (n,) of its outputs, batch by batch."""
    tokens = 0
    for batch in batches(model, corpus):
        with capture(model.model, [path], what="input") as inputs, capture(model.model, [path]) as outputs:
            Prefix(model, batch, layer)
        places = looked_at(model, batch, layer).flatten().to(model.device)
        states, results = (record[path][-1].flatten(0, -2)[places].float() for record in (inputs, outputs))
        yield states.cpu(), results.norm(dim=1).cpu()
        if (tokens := tokens + int(batch.attention_mask.sum())) >= TOKENS:
            return
