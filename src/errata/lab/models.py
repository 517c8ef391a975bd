"""The models that Errata carries: where they lie and what they are. Reads no weights and does not import torch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from errata.errors import BadModel, unknown_name

WEIGHTS = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class LabModel:
    """One model of the lab, as `errata models` lists it."""

    name: str
    path: Path
    task: str
    parameters: int
    description: str


def models() -> Iterator[LabModel]:
    """Every model in the package, by name."""
    for path in sorted(WEIGHTS.iterdir()) if WEIGHTS.is_dir() else []:
        card = path / "lab.json"
        if card.is_file():
            yield LabModel(name=f"lab:{path.name}", path=path, **json.loads(card.read_text()))


def resolve(name: str) -> Path:
    """The directory of the lab model called `name` (without "lab:").

    Raises:
        UnknownName: the lab has no such model.
        BadModel: it is known, but its weights were never put in place.
    """
    known = {model.name.removeprefix("lab:"): model.path for model in models()}
    if name not in known:
        raise unknown_name("lab model", name, sorted(known))
    if not (known[name] / "model.safetensors").is_file():
        raise BadModel(
            f"the weights of lab:{name} are missing; reinstall errata, or run `errata lab train {name} OUT`"
        )
    return known[name]
