"""Results on disk that are dear to compute: tensors under the hash of everything that determines them.

Knows directories, checksums and tensors; what they mean is the business of those who ask. An entry is whole or absent,
and one that was damaged later counts as absent.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from errata.durable import cache_dir, staged, write_synced

_CARD, _TENSORS = "card.json", "tensors.safetensors"

log = logging.getLogger(__name__)


def address(kind: str, key: Mapping[str, Any]) -> Path:
    """The directory of the entry that `key`, a JSON object, determines; it need not exist."""
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return cache_dir() / kind / digest


def store(entry: Path, tensors: Mapping[str, Tensor], card: Mapping[str, Any]) -> None:
    """Write an entry, whole or not at all, in place of what is there.

    `card` is a JSON object that says what the tensors are.
    """
    data = safetensors.torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    signed = {**card, "sha256": hashlib.sha256(data).hexdigest()}
    entry.parent.mkdir(parents=True, exist_ok=True)
    remove(entry)
    try:
        with staged(entry) as stage:
            write_synced(stage / _TENSORS, data)
            write_synced(stage / _CARD, json.dumps(signed, indent=2, sort_keys=True).encode())
    except OSError:
        if not (entry / _CARD).is_file():  # else another process was faster, with the same result
            raise


def fetch(entry: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors and card of an entry; None if it is absent, or damaged, which is logged as a warning."""
    if not entry.is_dir():
        return None
    try:
        card = json.loads((entry / _CARD).read_bytes())
        data = (entry / _TENSORS).read_bytes()
        if hashlib.sha256(data).hexdigest() != card["sha256"]:
            raise ValueError("its checksum differs")
        return safetensors.torch.load(data), card
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        log.warning("cached %s is damaged (%s); it is computed again", entry, error)
        return None


def read_card(entry: Path) -> dict[str, Any] | None:
    """What an entry says of itself, without reading its tensors; None if there is none."""
    try:
        return json.loads((entry / _CARD).read_bytes())
    except (OSError, ValueError):
        return None


def remove(entry: Path) -> None:
    """Delete an entry; nothing if there is none."""
    if entry.is_dir():
        shutil.rmtree(entry)
