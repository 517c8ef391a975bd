"""Training a scope classifier (SERAC, arXiv:2206.06520): near an edit what must follow it, away from it all else.

Knows embeddings of texts and which of them belong together. Where the texts come from is no concern here.
"""

from __future__ import annotations

import torch
from torch import Tensor

_CLOSEST = 1e-4  # of minus the log of a similarity: the loss of two equal texts that should be apart stays finite


def scope_loss(inside: Tensor, outside: Tensor, owners: Tensor) -> Tensor:
    """Balanced binary cross-entropy: its mean over pairs that belong together, plus its mean over those that do not.

    The latter are of two sorts, which weigh alike: an edit with its own locality prompts, and an edit with the prompts
    of the others, most of which are easy to tell apart.

    Args:
        inside: (B, B) log similarities of edits to one prompt in the scope of each.
        outside: (B, M), to locality prompts.
        owners: (M,), to which edit each of them belongs.
    """
    others = ~torch.eye(len(inside), dtype=torch.bool, device=inside.device)
    own = outside[owners, torch.arange(len(owners), device=owners.device)]
    apart = [_apart(part).mean() for part in (own, inside[others]) if len(part)]
    return -inside.diagonal().mean() + sum(apart) / max(1, len(apart))


def _apart(log_similarity: Tensor) -> Tensor:
    """Minus the log of 1 - similarity."""
    return -torch.log(-torch.expm1(log_similarity.clamp(max=-_CLOSEST)))
