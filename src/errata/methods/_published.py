"""Settings that were published for well-known models, chosen by the model's own config.

Sources: the hyper-parameter files of ROME, MEMIT, AlphaEdit, NSE, PMET and UltraEdit; EasyEdit's for Llama-2, Mistral
and Qwen2.5. Learning rates, decays and thresholds among them are absolute numbers. Knows names of options; it knows no
method.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from errata.models import EditableModel

# (model type, width, blocks, vocabulary or None where any will do)
_FAMILIES: dict[tuple[str, int, int, int | None], str] = {
    ("gpt2", 1024, 24, None): "gpt2-medium",
    ("gpt2", 1280, 36, None): "gpt2-large",
    ("gpt2", 1600, 48, None): "gpt2-xl",
    ("gptj", 4096, 28, None): "gpt-j",
    ("gpt_neox", 6144, 44, None): "gpt-neox-20b",
    ("llama", 4096, 32, 32000): "llama-2-7b",
    ("llama", 4096, 32, 128256): "llama-3-8b",
    ("mistral", 4096, 32, None): "mistral-7b",
    ("qwen2", 3584, 28, None): "qwen2.5-7b",
}

_EARLY: dict[str, Any] = {"unit": "absolute", "kl": 0.0625, "lr": 0.5, "stop": "loss", "enough": 0.05}
_OLD: dict[str, Any] = {**_EARLY, "steps": 20, "decay": 0.5}
_NEW: dict[str, Any] = {**_EARLY, "steps": 25, "decay": 1e-3}

_PREFIXED: dict[str, Any] = {"contexts": "rome"}

_ROME: dict[str, dict[str, Any]] = {
    "gpt2-medium": {**_OLD, **_PREFIXED, "layers": "8", "clamp": 3.0},
    "gpt2-large": {**_OLD, **_PREFIXED, "layers": "12", "clamp": 4.0},
    "gpt2-xl": {**_OLD, **_PREFIXED, "layers": "17", "clamp": 4.0},
    "gpt-j": {**_OLD, **_PREFIXED, "layers": "5", "clamp": 4.0},
    "gpt-neox-20b": {**_OLD, **_PREFIXED, "layers": "15", "clamp": 4.0},
    **{
        name: {**_NEW, **_PREFIXED, "layers": "5", "clamp": 4.0}
        for name in ("llama-2-7b", "llama-3-8b", "mistral-7b", "qwen2.5-7b")
    },
}  # fmt: skip

_LLAMA: dict[str, Any] = {**_NEW, "layers": "4-8", "clamp": 4.0, "weight": 15000.0}
_MEMIT: dict[str, dict[str, Any]] = {
    "gpt2-xl": {**_OLD, "layers": "13-17", "clamp": 0.75, "weight": 20000.0},
    "gpt-j": {**_OLD, "steps": 25, "layers": "3-8", "clamp": 0.75, "weight": 15000.0},
    "llama-2-7b": _LLAMA,
    "llama-3-8b": {**_LLAMA, "lr": 0.1, "clamp": 0.75, "decay": 0.5},
    "mistral-7b": _LLAMA,
    "qwen2.5-7b": _LLAMA,
}

_ALPHAEDIT: dict[str, dict[str, Any]] = {
    name: {**values, "ridge": 1.0 if name == "qwen2.5-7b" else 10.0, "threshold": 0.02}
    for name, values in _MEMIT.items()
}

_NSE: dict[str, dict[str, Any]] = {
    "gpt2-xl": {**_MEMIT["gpt2-xl"], "low": 35.0, "high": 150.0, "share": 1.0, "weight": 10000.0},
    "gpt-j": {**_MEMIT["gpt-j"], "low": 15.0, "high": 100.0, "share": 0.8},
    "llama-3-8b": {**_MEMIT["llama-3-8b"], "low": 2.5, "high": 50.0, "share": 1.0},
}

_PMET: dict[str, dict[str, Any]] = {
    "gpt-j": {**_MEMIT["gpt-j"], "steps": 30, "lr": 0.2, "kl": 1.0, "weight": 6000.0},
}

_STREAM: dict[str, Any] = {"unit": "absolute", "rate": 1e-6, "ridge": 1.0, "steps": 1, "prior": 0.0}
_ULTRAEDIT: dict[str, dict[str, Any]] = {
    "gpt-j": {**_STREAM, "matrices": "down 18-26"},
    "llama-3-8b": {**_STREAM, "matrices": "gate 11-15, up 18-24"},
    "mistral-7b": {**_STREAM, "matrices": "down 29-30"},
    "qwen2.5-7b": {**_STREAM, "matrices": "gate 18-26, up 18-26"},
}

# The ridge with which AlphaEdit's update was published for two matrices of full residual.
_BLUE: dict[str, dict[str, Any]] = {"gpt2-xl": {"ridge": 80.0}, "gpt-j": {"ridge": 95.0}, "llama-3-8b": {"ridge": 1.0}}

_TABLES: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "rome": _ROME,
    "memit": _MEMIT,
    "alphaedit": _ALPHAEDIT,
    "alphaedit+blue": _BLUE,
    "nse": _NSE,
    "pmet": _PMET,
    "ultraedit": _ULTRAEDIT,
}


def family(model: EditableModel) -> str | None:
    """Name of the well-known model this is, by type and sizes; None for any other."""
    config = model.model.config.get_text_config()
    sizes = (config.model_type, model.width, len(model.arch))
    exact, any_vocabulary = (*sizes, config.vocab_size), (*sizes, None)
    return _FAMILIES.get(exact) or _FAMILIES.get(any_vocabulary)


def published(table: str, model: EditableModel) -> Mapping[str, Any]:
    """What was published for this model in the table of that name; empty for other models."""
    known = family(model)
    return _TABLES[table].get(known, {}) if known else {}
