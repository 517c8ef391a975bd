"""New entities (Hewitt et al., 2024): learn from one text about an entity what another says of it."""

from __future__ import annotations

from errata.datasets._base import register_dataset
from errata.datasets._canonical import RAISED_A_TWENTIETH
from errata.datasets._canonical_files import Files, Published, canonical

FILES = Files(
    train="temporal_train",
    eval="temporal_eval_clear",
    hard_negatives="temporal_hard_neg_eval_clear",
    text="temporal_unconditional",
)


@register_dataset("canonical-temporal")
def canonical_temporal() -> Published:
    """Hard negatives are entities that the model knows."""
    about = "texts about recent entities, and what else is true of them"
    return canonical(
        "temporal", 1954, about, goal="raise", threshold=RAISED_A_TWENTIETH, files=FILES, about="entity_url"
    )
