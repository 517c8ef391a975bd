"""What a counterfactual model says with an edit before the prompt, as logits to be trained or scored.

Knows how edit and prompt become one input, and the model's own batches; knows no loss.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from errata.models import Batch
from errata.patches.networks import Placed


def counterfactual_logits(placed: Placed, contexts: Sequence[Sequence[int]], batch: Batch) -> Tensor:
    """(B, S, V), aligned to `batch.gold`; (B, 1, C) from a classifier. Gradients flow into the counterfactual model.

    `contexts` holds the edit that stands before each row of the batch, as ids.
    """
    rows = [ids[real != 0].tolist() for ids, real in zip(batch.input_ids, batch.attention_mask, strict=True)]
    ids, mask = placed.padded([placed.edited(*pair) for pair in zip(contexts, rows, strict=True)])
    if batch.decoder_input_ids is None:
        return placed.counterfactual(input_ids=ids, attention_mask=mask).logits[:, None]
    return placed.counterfactual(
        input_ids=ids, attention_mask=mask, decoder_input_ids=batch.decoder_input_ids, use_cache=False
    ).logits
