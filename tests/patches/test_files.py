"""Patch files: whole, checked, and the same bits back; anything else is refused before it can touch a model."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from errata.errors import BadPatch, WrongModel
from errata.patches.base import Patch
from errata.patches.codebook import CodebookPatch, Entry, Rules
from errata.patches.deltas import Dense, LowRank, Rows
from errata.patches.files import load_patch, read_header, save_patch
from errata.patches.weights import WeightPatch

BASE = {"name": "tiny", "fingerprint": "f" * 64}


def weights() -> WeightPatch:
    generator = torch.Generator().manual_seed(0)
    deltas = {
        "h.0.mlp.weight": LowRank(torch.randn(4, 2, generator=generator), torch.randn(2, 6, generator=generator)),
        "wte.weight": Rows(torch.tensor([7, 3]), torch.randn(2, 5, generator=generator)),
        "ln.bias": Dense(torch.randn(3, generator=generator)),
    }
    return WeightPatch(deltas, method="memit", config={"layers": [1, 2], "lr": 0.5}, edits=["a", "b"])


def codebook(count: int = 3) -> CodebookPatch:
    generator = torch.Generator().manual_seed(0)
    entries = [
        Entry(
            "abc"[n], torch.randn(4, generator=generator), torch.randn(4, generator=generator),
            (n, 1), 0.1 + n, f"Où est l'été {n}?", n,
        )
        for n in range(count)
    ]  # fmt: skip
    return CodebookPatch(
        2, entries, method="grace", config={"radius": 0.1}, edits="abc"[: max(1, count)], rules=Rules("average", 1e-3)
    )


PATCHES = [weights, codebook, lambda: codebook(0), lambda: WeightPatch({}, method="ft", config={}, edits=["a"])]


@pytest.mark.parametrize("make", PATCHES)
def test_what_is_loaded_is_what_was_saved(make: Any, tmp_path: Path) -> None:
    patch: Patch = make()
    path = tmp_path / "p.safetensors"
    sha = save_patch(path, patch, BASE)
    assert sha == hashlib.sha256(path.read_bytes()).hexdigest()
    loaded = load_patch(path, expect_sha256=sha, fingerprint=BASE["fingerprint"])
    assert type(loaded) is type(patch)
    assert loaded.header() == patch.header()
    tensors, wanted = loaded.tensors(), patch.tensors()
    assert tensors.keys() == wanted.keys()
    assert all(torch.equal(tensors[name], wanted[name]) for name in wanted)
    assert save_patch(tmp_path / "again.safetensors", loaded, BASE) == sha
    assert sorted(os.listdir(tmp_path)) == ["again.safetensors", "p.safetensors"]


def test_a_loaded_codebook_has_the_same_geometry(tmp_path: Path) -> None:
    patch, path = codebook(), tmp_path / "p.safetensors"
    save_patch(path, patch, BASE)
    loaded = load_patch(path)
    assert isinstance(loaded, CodebookPatch)
    assert torch.equal(loaded.geometry.keys, patch.geometry.keys)
    assert torch.equal(loaded.geometry.radii, patch.geometry.radii)
    assert loaded.geometry.members == patch.geometry.members
    assert loaded.entries[1].prompt == "Où est l'été 1?"
    assert loaded.entries[1].label == (1, 1)


def test_the_header_can_be_read_alone(tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    save_patch(path, weights(), BASE)
    header = read_header(path)
    assert (header["format"], header["kind"], header["method"]) == (1, "weights", "memit")
    assert header["base"] == BASE
    assert header["edits"] == ["a", "b"]


def test_no_pickle_and_no_leftovers(tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    save_patch(path, weights(), BASE)
    assert safetensors.torch.load_file(path)["ln.bias:values"].shape == (3,)
    with pytest.raises(BadPatch, match="cannot write"):
        save_patch(tmp_path / "none" / "p.safetensors", weights(), BASE)
    with pytest.raises(BadPatch, match="end in"):
        save_patch(tmp_path / "p.pt", weights(), BASE)
    assert os.listdir(tmp_path) == ["p.safetensors"]


@pytest.mark.parametrize("make", [weights, codebook])
def test_a_truncated_file_is_refused_at_any_length(make: Any, tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    save_patch(path, make(), BASE)
    data = path.read_bytes()
    for length in [*range(0, len(data), 37), 7, 8, 9, len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(BadPatch, match="restore"):
            load_patch(path)


def test_a_flipped_byte_is_noticed_with_and_without_a_recorded_checksum(tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    sha = save_patch(path, codebook(), BASE)
    data = path.read_bytes()
    for place in [*range(0, len(data), 29), len(data) - 1]:
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(BadPatch):
            load_patch(path, expect_sha256=sha)
        with pytest.raises(BadPatch):
            load_patch(path)


def test_a_patch_for_another_base_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    save_patch(path, weights(), BASE)
    with pytest.raises(WrongModel, match="tiny"):
        load_patch(path, fingerprint="0" * 64)


def test_files_that_are_no_patches_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    with pytest.raises(BadPatch, match="cannot read"):
        load_patch(path)
    path.write_text("hello")
    with pytest.raises(BadPatch, match="no patch file"):
        load_patch(path)
    path.write_bytes(safetensors.torch.save({"x": torch.ones(2)}))
    with pytest.raises(BadPatch, match="no patch file"):
        load_patch(path)


def rewritten(path: Path, change: dict[str, Any], tensors: dict[str, torch.Tensor] | None = None) -> None:
    """A file whose content checksum is right but whose header or tensors are not what a patch has."""
    from errata.patches import files

    header = {**read_header(path), **change}
    del header["content"]
    kept = safetensors.torch.load(path.read_bytes()) if tensors is None else tensors
    header["content"] = files._digest(header, kept)
    path.write_bytes(safetensors.torch.save(kept, {"errata": json.dumps(header, sort_keys=True)}))


@pytest.mark.parametrize("change", [{"format": 2}, {"kind": "oracle"}])
def test_unknown_versions_and_kinds_are_refused(change: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    save_patch(path, weights(), BASE)
    rewritten(path, change)
    with pytest.raises(BadPatch, match="update errata"):
        load_patch(path)


def test_a_newer_version_may_add_fields(tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    save_patch(path, weights(), BASE)
    rewritten(path, {"note": "later"})
    assert load_patch(path).method == "memit"


@pytest.mark.parametrize(
    "change",
    [
        {"parameters": {"wte.weight": "rows"}},
        {"parameters": {"h.0.mlp.weight": "dense", "wte.weight": "rows", "ln.bias": "dense"}},
        {"parameters": {"h.0.mlp.weight": "low-rank", "wte.weight": "rows", "ln.bias": "sparse"}},
        {"parameters": {"h.0.mlp.weight": "low-rank", "wte.weight": "rows", "ln.bias": "dense", "x": "dense"}},
        {"edits": ["a", "a"]},
        {"edits": None},
    ],
)
def test_headers_that_do_not_fit_their_tensors_are_refused(change: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    save_patch(path, weights(), BASE)
    rewritten(path, change)
    with pytest.raises(BadPatch, match="damaged"):
        load_patch(path)


@pytest.mark.parametrize(
    "change",
    [
        {"queries": torch.zeros(2, 4)},
        {"values": torch.zeros(3, 5)},
        {"radii": torch.zeros(3, 1)},
        {"radii": torch.tensor([1.0, -1.0, 1.0])},
        {"queries": torch.zeros(3, 4, dtype=torch.float64)},
        {"queries": torch.full((3, 4), float("nan"))},
    ],
)
def test_tensors_of_the_wrong_shape_or_dtype_are_refused(change: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    patch = codebook()
    save_patch(path, patch, BASE)
    rewritten(path, {}, {**patch.tensors(), **change})
    with pytest.raises(BadPatch, match="damaged"):
        load_patch(path)
    rewritten(path, {}, {"queries": patch.tensors()["queries"]})
    with pytest.raises(BadPatch, match="damaged"):
        load_patch(path)


def test_factors_of_the_wrong_dtype_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    patch = weights()
    save_patch(path, patch, BASE)
    rewritten(path, {}, {**patch.tensors(), "ln.bias:values": torch.ones(3, dtype=torch.int64)})
    with pytest.raises(BadPatch, match="damaged"):
        load_patch(path)
