"""Patches for tools that have never heard of Errata: an ordinary PEFT LoRA adapter, or an ordinary merged model.

Knows the two directory formats. Patches that change no weights, such as codebooks, fit neither and say so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from errata.durable import staged
from errata.errors import CannotExport
from errata.models.arch import Linear
from errata.patches.base import Patch
from errata.patches.deltas import Delta, LowRank, Rows
from errata.patches.weights import WeightPatch, attached_patches, parameter_view

if TYPE_CHECKING:
    from errata.models import EditableModel

_TASKS = {"causal": "CAUSAL_LM", "seq2seq": "SEQ_2_SEQ_LM"}  # SEQ_CLS would make peft expect a new head


def export_lora(model: EditableModel, patches: Sequence[Patch], out_dir: Path) -> None:
    """Write the sum of weight patches as a LoRA adapter that `peft.PeftModel.from_pretrained(base, out_dir)` loads.

    Loaded on the unpatched base model it gives the patched model's logits up to rounding. Low-rank changes keep their
    factors; others are written as exact factors of as high a rank as they need.

    Raises:
        CannotExport: a patch is a codebook or changes something other than a linear module's own matrix, or
            `out_dir` is not empty.
    """
    changes: dict[str, list[Delta]] = {}
    for patch in _weight_patches(patches, "a LoRA adapter"):
        for name, delta in patch.deltas.items():
            changes.setdefault(_module(model.model, name), []).append(delta)
    if not changes:
        raise CannotExport("there is no weight change to export; apply a weight-editing method first")
    _check_names(model.model, changes)
    factors = {path: _joined(model.model, path, deltas) for path, deltas in changes.items()}
    tensors = {}
    for path, (b, a) in factors.items():
        tensors[f"base_model.model.{path}.lora_A.weight"] = a.contiguous()
        tensors[f"base_model.model.{path}.lora_B.weight"] = b.contiguous()
    with _fresh(out_dir) as stage:
        config = _adapter_config(model, {path: len(a) for path, (_, a) in factors.items()})
        (stage / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
        safetensors.torch.save_file(tensors, stage / "adapter_model.safetensors", {"format": "pt"})


def export_merged(model: EditableModel, patches: Sequence[Patch], out_dir: Path) -> None:
    """Write the model with exactly these weight patches, and its tokenizer, in the format transformers loads.

    Patches need not be attached, and attached ones that are not named are left out; the model is afterwards as it was.

    Raises:
        CannotExport: a patch is not of weights, or `out_dir` is not empty.
    """
    chosen = _weight_patches(patches, "merged weights")
    with _fresh(out_dir) as stage, _exactly(model, chosen):
        model.model.save_pretrained(stage)
        model.tokenizer.save_pretrained(stage)


def _weight_patches(patches: Sequence[Patch], target: str) -> list[WeightPatch]:
    found = [patch for patch in patches if isinstance(patch, WeightPatch)]
    if len(found) < len(patches):
        other = next(patch for patch in patches if not isinstance(patch, WeightPatch))
        some = ", ".join(other.edits[:3]) + (", ..." if len(other.edits) > 3 else "")
        raise CannotExport(
            f"a patch of '{other.method}' (kind {other.kind}) changes no weights and cannot become {target}; "
            f"undo its edits ({some}) to export the rest, or serve the sheet"
        )
    return found


def _module(network: nn.Module, name: str) -> str:
    """Path of the linear module whose own weight this parameter is."""
    path, _, leaf = name.rpartition(".")
    parameter_view(network, name)
    parameter = network.get_parameter(name)
    holders = [one for module in network.modules() for one in module.parameters(recurse=False) if one is parameter]
    if leaf != "weight" or not isinstance(network.get_submodule(path), Linear) or len(holders) > 1:
        raise CannotExport(
            f"'{name}' is no matrix of one linear module alone, and LoRA changes nothing else; export merged weights"
        )
    return path


def _check_names(network: nn.Module, changes: dict[str, list[Delta]]) -> None:
    """PEFT adapts every module whose path ends like a target's."""
    for path, _ in network.named_modules():
        if path not in changes and any(path.endswith(f".{target}") for target in changes):
            raise CannotExport(f"PEFT would adapt '{path}' too, which ends like a changed one; export merged weights")


def _joined(network: nn.Module, path: str, deltas: Sequence[Delta]) -> tuple[Tensor, Tensor]:
    """B (d_out, r) and A (r, d_in) whose product is the sum of the changes."""
    rows, columns = parameter_view(network, f"{path}.weight").shape
    parts = [_factors(delta, rows) for delta in deltas]
    if all(part is not None for part in parts):
        b = torch.cat([part[0] for part in parts if part], dim=1)
        a = torch.cat([part[1] for part in parts if part])
        if len(a) < min(rows, columns):
            return b, a
    total = torch.zeros(rows, columns)
    for delta in deltas:
        delta.add_to(total)
    return (torch.eye(rows), total) if rows <= columns else (total, torch.eye(columns))


def _factors(delta: Delta, rows: int) -> tuple[Tensor, Tensor] | None:
    match delta:
        case LowRank():
            return delta.B, delta.A
        case Rows():
            return torch.eye(rows)[:, delta.index], delta.values
    return None


def _adapter_config(model: EditableModel, ranks: dict[str, int]) -> dict[str, Any]:
    """The fields of PEFT's LoraConfig; alpha equals the rank everywhere, so that nothing is scaled."""
    most = max(ranks.values())
    other = {path: rank for path, rank in ranks.items() if rank != most}
    modules = [model.model.get_submodule(path) for path in ranks]
    return {
        "peft_type": "LORA",
        "task_type": _TASKS.get(model.task),
        "base_model_name_or_path": model.name,
        "r": most,
        "lora_alpha": most,
        "rank_pattern": other,
        "alpha_pattern": other,
        "target_modules": sorted(ranks),
        "fan_in_fan_out": any(isinstance(module, Conv1D) for module in modules),
        "lora_dropout": 0.0,
        "bias": "none",
        "inference_mode": True,
    }


@contextmanager
def _exactly(model: EditableModel, chosen: Sequence[WeightPatch]) -> Iterator[None]:
    """Within the context these weight patches are attached and no others."""
    present = attached_patches(model)
    aside = [patch for patch in present if patch not in chosen]
    added = [patch for patch in chosen if patch not in present]
    try:
        for patch in aside:
            patch.detach(model)
        for patch in added:
            patch.attach(model)
        yield
    finally:
        for patch in added:
            patch.detach(model)
        for patch in aside:
            patch.attach(model)


@contextmanager
def _fresh(out_dir: Path) -> Iterator[Path]:
    """A directory beside `out_dir` that takes its place when all is written."""
    if out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
        raise CannotExport(f"{out_dir} is not an empty directory; choose a new one")
    try:
        with staged(out_dir.absolute()) as stage:
            yield stage
    except OSError as error:
        reason = error.strerror or error
        raise CannotExport(f"cannot write {out_dir}: {reason}; check the path and free space") from error
