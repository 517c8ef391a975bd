"""Patches as files: one safetensors file each, with a JSON header in its metadata. Never pickle.

Knows bytes and checksums. What header and tensors mean is the patch's own business. A file is checked
in full (checksum, format, base model, shapes, dtypes) before there is a patch that could touch a model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from errata.durable import write_atomic
from errata.errors import BadPatch, WrongModel
from errata.patches.adaptor import AdaptorPatch
from errata.patches.base import Patch
from errata.patches.codebook import CodebookPatch
from errata.patches.conditional import ConditionalPatch
from errata.patches.logits import LogitsPatch
from errata.patches.noted import NotePatch
from errata.patches.residual import ResidualPatch
from errata.patches.router import RouterPatch
from errata.patches.scoped import ScopedPatch
from errata.patches.senses import SensePatch
from errata.patches.weights import WeightPatch

FORMAT = 1
SUFFIX = ".safetensors"

_KINDS: dict[str, type[Patch]] = {
    kind.kind: kind
    for kind in (
        WeightPatch, CodebookPatch, AdaptorPatch, RouterPatch, SensePatch, LogitsPatch, ResidualPatch, ScopedPatch,
        ConditionalPatch,
        NotePatch,
    )
}
_KEY = "errata"  # of the header, in the metadata


def save_patch(path: Path, patch: Patch, base: Mapping[str, Any]) -> str:
    """Write a patch to one file, whole or not at all, and return the SHA-256 (hex) of its bytes.

    `base` says which model it belongs to: {"name": ..., "fingerprint": ...}. The same patch gives the same bytes.

    Raises:
        BadPatch: the name does not end in .safetensors, or the file cannot be written.
    """
    if path.suffix != SUFFIX:
        raise BadPatch(f"{path} is no name for a patch; let it end in {SUFFIX}")
    tensors = {name: tensor.contiguous() for name, tensor in patch.tensors().items()}
    header = {"format": FORMAT, "errata": _version(), "base": dict(base), **patch.header()}
    header["content"] = _digest(header, tensors)
    data = safetensors.torch.save(tensors, {_KEY: json.dumps(header, sort_keys=True)})
    try:
        write_atomic(path, data)
    except OSError as error:
        raise BadPatch(f"cannot write {path}: {error.strerror}; check the directory and its free space") from error
    return hashlib.sha256(data).hexdigest()


def load_patch(path: Path, *, expect_sha256: str | None = None, fingerprint: str | None = None) -> Patch:
    """The patch in a file, not attached to anything.

    Raises:
        BadPatch: the file is missing, truncated or changed (its SHA-256 is not `expect_sha256`, if given), or of
            a version or kind that this version does not know.
        WrongModel: `fingerprint` is given, and the patch was made for a model with another one.
    """
    data = _read(path, expect_sha256)
    header = _header(path, data)
    made_for = header["base"].get("fingerprint")
    if fingerprint is not None and made_for != fingerprint:
        name = header["base"].get("name")
        raise WrongModel(f"{path} was made for another model ({name}); load that one, or edit this model anew")
    try:
        tensors = safetensors.torch.load(data)
        if header.pop("content", None) != _digest(header, tensors):
            raise BadPatch("its contents are not what was saved")
        return patch_of(header, tensors)
    except (BadPatch, SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadPatch(f"{path} is damaged ({error}); restore it from a copy") from error


def patch_of(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Patch:
    """The patch of some kind that has this header and these tensors. Raises: BadPatch, KeyError (no such kind)."""
    return _KINDS[header["kind"]].from_parts(header, tensors)


def read_header(path: Path) -> dict[str, Any]:
    """What a file says about its patch: format, kind, method, config, edits, base and the kind's own fields.

    Raises:
        BadPatch: as `load_patch`.
    """
    return _header(path, _read(path, None))


def _read(path: Path, expect_sha256: str | None) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadPatch(f"cannot read {path}: {error.strerror}; check the path") from error
    if expect_sha256 is not None and hashlib.sha256(data).hexdigest() != expect_sha256:
        raise BadPatch(f"{path} is not what was recorded (its checksum differs); restore it from a copy")
    return data


def _header(path: Path, data: bytes) -> dict[str, Any]:
    try:
        # A safetensors file begins with the length of its own JSON header, 8 bytes, little endian.
        told = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        header = json.loads(told["__metadata__"][_KEY])
        version, kind, base = header["format"], header["kind"], header["base"]
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise BadPatch(f"{path} is truncated or no patch file; restore it from a copy") from error
    if version != FORMAT or kind not in _KINDS:
        raise BadPatch(f"{path} has format {version}, kind '{kind}', unknown to this version; update errata")
    if not isinstance(base, dict):
        raise BadPatch(f"{path} does not say which model it is for; restore it from a copy")
    return header


def _digest(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of everything in the file, so that damage shows without a recorded checksum."""
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()


def _version() -> str:
    try:
        return metadata.version("errata")
    except metadata.PackageNotFoundError:
        return "source"
