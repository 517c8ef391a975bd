"""Chief executives of companies (Hewitt et al., 2024): keep up with the new one, in any text."""

from __future__ import annotations

from errata.datasets._base import register_dataset
from errata.datasets._canonical import RAISED_A_TWENTIETH
from errata.datasets._canonical_files import Files, Published, canonical

FILES = Files(
    train="company_ceo_train",
    eval="company_ceo_eval_clear",
    hard_negatives="company_ceo_hard_neg_eval_clear",
    text="company_ceo_unconditional",
)


@register_dataset("canonical-company-ceo")
def canonical_company_ceo() -> Published:
    """Hard negatives ask for the chief executives of other companies."""
    about = "companies and their chief executives, in templates and in prose"
    return canonical(
        "company-ceo", 1630, about, goal="raise", threshold=RAISED_A_TWENTIETH, files=FILES, about="company"
    )
