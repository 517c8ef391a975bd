"""What training an editor leaves: tensors and what they are for, bound to one base model, in one directory.

Knows files, checksums and model fingerprints. What the tensors mean is the business of the method that trained them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import transformers
from safetensors import SafetensorError
from torch import Tensor

from errata.durable import write_atomic
from errata.errors import BadConfig, BadPatch, WrongModel
from errata.models import EditableModel
from errata.plain import plain
from errata.statistics.identity import original_fingerprint

FORMAT = 1
TENSORS, CARD = "editor.safetensors", "editor.json"
LEFT = (TENSORS, CARD, "curve.jsonl", "curve.png")
"""What a finished training leaves in its directory."""

_FIELDS: dict[str, type] = {"method": str, "options": dict, "base": dict, "facts": dict, "sha256": str}


@dataclass(frozen=True, eq=False)
class TrainedEditor:
    """An editor that was trained for one model.

    Attributes:
        method: the method that trained it and can use it.
        options: that method's Config as it was trained with, as JSON.
        base: {"name": …, "fingerprint": …} of the model, its patches not counted.
        tensors: by name, on the CPU.
        facts: anything else worth knowing, as JSON: matrices, samples, steps, seconds, validation figures.
    """

    method: str
    options: Mapping[str, Any]
    base: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]

    @cached_property
    def sha256(self) -> str:
        """Checksum (hex) of the tensors."""
        return hashlib.sha256(self._bytes()).hexdigest()

    def _bytes(self) -> bytes:
        return safetensors.torch.save(dict(self.tensors))

    @classmethod
    def of(
        cls,
        model: EditableModel,
        method: str,
        options: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
        facts: Mapping[str, Any],
    ) -> TrainedEditor:
        """An editor for `model`, with the versions that trained it among its facts."""
        base = {"name": model.name, "fingerprint": original_fingerprint(model)}
        versions = {"torch": str(torch.__version__), "transformers": transformers.__version__}
        kept = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
        return cls(method, plain(options), base, kept, plain({**facts, "versions": versions}))

    def save(self, path: str | Path) -> None:
        """Write the two files of the editor into a directory; the card last, so that a half-written one shows.

        Raises:
            BadPatch: a tensor holds NaN or infinity, or the directory cannot be written.
        """
        _check_finite(self.tensors, "the editor")
        path = Path(path)
        card = {
            "format": FORMAT, "method": self.method, "options": self.options, "base": self.base, "facts": self.facts,
            "sha256": self.sha256,
        }  # fmt: skip
        try:
            path.mkdir(parents=True, exist_ok=True)
            write_atomic(path / TENSORS, self._bytes())
            write_atomic(path / CARD, json.dumps(plain(card), indent=2, ensure_ascii=False).encode() + b"\n")
        except OSError as error:
            raise BadPatch(f"cannot write {path}: {error.strerror}; check the directory and its free space") from error

    @classmethod
    def load(cls, path: str | Path) -> TrainedEditor:
        """The editor in a directory.

        Raises:
            BadPatch: there is none, it is damaged or of a newer format, or holds NaN.
        """
        path = Path(path)
        card = _read_card(path)
        try:
            data = (path / TENSORS).read_bytes()
        except OSError as error:
            raise BadPatch(f"cannot read {path / TENSORS}: {error.strerror}; restore it from a copy") from error
        if hashlib.sha256(data).hexdigest() != card["sha256"]:
            raise BadPatch(f"{path / TENSORS} is truncated or was changed; restore it from a copy, or train again")
        try:
            tensors = safetensors.torch.load(data)
        except SafetensorError as error:
            raise BadPatch(f"{path / TENSORS} is damaged ({error}); restore it from a copy") from error
        _check_finite(tensors, str(path))
        return cls(card["method"], card["options"], card["base"], tensors, card["facts"])

    def check(self, model: EditableModel, method: str) -> None:
        """Whether `method` may edit `model` with it; patches on the model do not count.

        Raises:
            BadConfig: it is an editor of another method.
            WrongModel: it was trained for another model.
        """
        if self.method != method:
            raise BadConfig(f"the editor was trained for the method '{self.method}', not '{method}'; give its own one")
        found = original_fingerprint(model)
        if self.base.get("fingerprint") != found:
            raise WrongModel(
                f"the editor was trained for {self.base.get('name')} ({str(self.base.get('fingerprint'))[:12]}), and "
                f"the model is {model.name} ({found[:12]}); train one for it: "
                f"errata train --model {model.name} --method {method}"
            )

    def taken(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names begin with `prefix`, under the rest of their names."""
        return {name.removeprefix(prefix): one for name, one in self.tensors.items() if name.startswith(prefix)}


def from_pretrained(place: str | Path, **hub: Any) -> TrainedEditor:
    """The editor in a directory, or in a repository of the Hugging Face hub; `hub`: see `snapshot_download`.

    Raises:
        BadConfig: neither exists, or the hub cannot be reached.
        BadPatch: what is there is not an intact editor.
    """
    if Path(place).is_dir():
        return TrainedEditor.load(place)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    missing = f"there is no editor at '{place}'"
    try:
        return TrainedEditor.load(snapshot_download(str(place), allow_patterns=list(LEFT), **hub))
    except HFValidationError:
        raise BadConfig(f"{missing}: no such directory; make one with `errata train`") from None
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        why = str(error).strip().splitlines()[0]
        raise BadConfig(f"{missing}: no such directory, and the hub has none ({why}); check the name") from error


def push_to_hub(folder: str | Path, repo: str, *, private: bool | None = None) -> str:
    """Upload the editor in a directory, its curve included, to a repository of the hub; returns the address.

    Raises:
        BadPatch: the directory holds no intact editor.
    """
    TrainedEditor.load(folder)
    from huggingface_hub import HfApi

    api = HfApi()
    api.create_repo(repo, private=private, exist_ok=True)
    return str(api.upload_folder(folder_path=folder, repo_id=repo, allow_patterns=list(LEFT)))


def read_card(path: str | Path) -> dict[str, Any] | None:
    """What the editor in a directory says of itself, its tensors unread; None if there is no editor.

    Raises:
        BadPatch: as `TrainedEditor.load`.
    """
    return _read_card(Path(path)) if (Path(path) / CARD).is_file() else None


def _read_card(path: Path) -> dict[str, Any]:
    try:
        card = json.loads((path / CARD).read_bytes())
    except OSError:
        raise BadPatch(f"{path} holds no trained editor (no {CARD}); make one with `errata train`") from None
    except ValueError:
        raise BadPatch(f"{path / CARD} is damaged; restore it from a copy") from None
    if not isinstance(card, dict) or not isinstance(card.get("format"), int):
        raise BadPatch(f"{path / CARD} is not the card of a trained editor; give another directory")
    if card["format"] > FORMAT:
        raise BadPatch(f"{path} has format {card['format']}, newer than this version knows; update errata")
    for name, kind in _FIELDS.items():
        if not isinstance(card.get(name), kind):
            raise BadPatch(f"{path / CARD} lacks '{name}' or it is malformed; restore it from a copy")
    return card


def _check_finite(tensors: Mapping[str, Tensor], what: str) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise BadPatch(f"tensor '{name}' of {what} holds NaN or infinity; train again with a lower learning rate")
