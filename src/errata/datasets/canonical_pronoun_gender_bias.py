"""Pronouns after occupations (Hewitt et al., 2024): "he" and "she" must be as likely."""

from __future__ import annotations

from errata.datasets._base import register_dataset
from errata.datasets._canonical import BALANCED_WITHIN_A_HALF
from errata.datasets._canonical_files import Files, Published, canonical

FILES = Files(
    train="pronoun_gender_bias_train",
    eval="pronoun_gender_bias_eval",
    hard_negatives="pronoun_gender_bias_hard_neg_eval",
    text="pronoun_gender_bias_unconditional",
)


@register_dataset("canonical-pronoun-gender-bias")
def canonical_pronoun_gender_bias() -> Published:
    """Hard negatives are texts that have said which pronoun it is."""
    about = "occupations after which he and she must be as likely"
    return canonical("pronoun-gender-bias", 1866, about, goal="balance", threshold=BALANCED_WITHIN_A_HALF, files=FILES)
