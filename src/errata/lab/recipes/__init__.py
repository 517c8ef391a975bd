"""Seeded, resumable recipes that train the lab's models from data in the package.

A recipe is a file of this package that defines `Recipe`, everything that determines the weights, and
`Training(recipe, out)` with `run()` and `export(path)`; its name is the model's, `_` for `-`. Importing this loads no
torch.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any


def names() -> list[str]:
    """The models that can be trained, found without importing their recipes."""
    files = Path(__file__).parent.glob("*.py")
    recipes = [file for file in files if re.search(r"(?m)^class Recipe\b", file.read_text(encoding="utf-8"))]
    return sorted(file.stem.replace("_", "-") for file in recipes)


def training(name: str, out: Path) -> Any:
    """The run of recipe `name` in the directory `out`, at the step it had reached there."""
    module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    return module.Training(module.Recipe(), out)
