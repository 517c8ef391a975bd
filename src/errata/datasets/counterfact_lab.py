"""CounterFact cases whose true fact `lab:gpt` was trained on: the edits to try on a lab model."""

from __future__ import annotations

from errata.datasets._base import DATA, Dataset, register_dataset


@register_dataset("counterfact-lab")
def counterfact_lab() -> Dataset:
    """Built by tools/build_lab_facts.py: every new target is an answer the model gives for another subject."""
    return Dataset(
        name="counterfact-lab",
        description="CounterFact edits of facts that lab:gpt knows, with rephrases and neighbours",
        licence="MIT",
        source="CounterFact (Meng et al., 2022) in EasyEdit's flat form; ParaRel's phrasings",
        records=1120,
        path=DATA / "counterfact-lab.jsonl.gz",
        format="errata",
        beside="lab-facts",
    )
