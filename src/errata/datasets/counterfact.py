"""CounterFact (Meng et al., 2022, arXiv:2202.05262): counterfactual objects for Wikidata facts.

`rome_cases` describes any file of the package in ROME's full schema.
"""

from __future__ import annotations

from errata.datasets._base import DATA, Dataset, register_dataset


def rome_cases(name: str, records: int, description: str) -> Dataset:
    """The data set of `data/<name>.json.gz`, cases of CounterFact in ROME's full schema."""
    return Dataset(
        name=name,
        description=description,
        licence="MIT",
        source="CounterFact, github.com/kmeng01/rome (arXiv:2202.05262)",
        records=records,
        path=DATA / f"{name}.json.gz",
        format="counterfact",
    )


@register_dataset("counterfact")
def counterfact() -> Dataset:
    """2,393 of the 21,919 cases, each with paraphrases, neighbours and generation prompts."""
    return rome_cases("counterfact", 2393, "counterfactual facts with paraphrases and neighbours")
