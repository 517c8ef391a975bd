"""Verbs that agree with their subject (Hewitt et al., 2024): the right form must be far likelier than the wrong."""

from __future__ import annotations

from errata.datasets._base import register_dataset
from errata.datasets._canonical import SIXTEEN_TIMES_LIKELIER
from errata.datasets._canonical_files import Files, Published, canonical

FILES = Files(
    train="verb_conjugation_train",
    eval="verb_conjugation_eval",
    hard_negatives="verb_conjugation_hard_neg_eval",
    text="verb_conjugation_eval_unconditional",
)


@register_dataset("canonical-verb-conjugation")
def canonical_verb_conjugation() -> Published:
    """Hard negatives are other sentences about the same subjects."""
    about = "sentences with the right and the wrong form of a verb"
    return canonical("verb-conjugation", 3360, about, goal="contrast", threshold=SIXTEEN_TIMES_LIKELIER, files=FILES)
