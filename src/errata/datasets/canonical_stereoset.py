"""StereoSet (Nadeem et al., 2021) as canonical examples (Hewitt et al., 2024): make a stereotype improbable."""

from __future__ import annotations

from errata.datasets._base import register_dataset
from errata.datasets._canonical import LOWERED_TO_A_THOUSANDTH
from errata.datasets._canonical_files import Files, Published, canonical

FILES = Files(
    train="stereoset_train",
    eval="stereoset_eval_clear",
    hard_negatives="stereoset_hard_neg",
    text="stereoset_unconditional",
)


@register_dataset("canonical-stereoset")
def canonical_stereoset() -> Published:
    """Hard negatives are definitions of the groups' names."""
    about = "stereotypes about groups, to be made improbable"
    return canonical("stereoset", 8424, about, goal="lower", threshold=LOWERED_TO_A_THOUSANDTH, files=FILES)
