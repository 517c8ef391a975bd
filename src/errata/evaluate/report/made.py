"""How a report's results came about: recipe, versions, fingerprints, dates, and the command that makes them again.

Knows what results record of themselves; knows no figure.
"""

from __future__ import annotations

from collections.abc import Iterator

import yaml

from errata.evaluate.report.page import Page

AGAIN = "errata bench --recipe recipe.yaml --out again"  # makes the same results in a new directory
NAMES = {"model": "fingerprint of the model", "data": "digest of the data"}


def recipe_text(page: Page) -> str:
    """The recipe as YAML, as it stands in the results."""
    return yaml.safe_dump(dict(page.recipe), sort_keys=False, allow_unicode=True)


def facts(page: Page) -> list[tuple[str, str]]:
    """Names and values, in order."""
    return list(_facts(page))


def _facts(page: Page) -> Iterator[tuple[str, str]]:
    recipe = page.recipe
    yield "model", str(recipe["model"])
    yield "data set", str(recipe["dataset"])
    yield "protocol", f"{recipe['protocol']}, {recipe['size']} at a time"
    yield "edits (n)", "not known yet" if page.total is None else f"{page.total:,}"
    yield "seed", str(recipe["seed"])
    yield from ((NAMES.get(name, name), str(value)) for name, value in page.setting.items())
    yield from ((name, str(value)) for name, value in page.environment.items())
