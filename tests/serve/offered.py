"""Methods as /v1/methods tells them, for the server that pretends."""

from __future__ import annotations

from typing import Any

FT = {
    "lr": {"type": "number", "default": 0.01, "description": "step size"},
    "steps": {"type": "integer", "default": 100, "description": "steps at most"},
}
LAYER = {"anyOf": [{"const": "auto"}, {"type": "integer"}, {"type": "number"}], "default": "auto"}
GRACE = {
    "layer": {**LAYER, "description": "block whose output is replaced"},
    "radius": {"type": "number", "default": 1.0, "description": "initial deferral radius, L2"},
    "init": {"enum": ["warm", "cold"], "default": "warm", "description": "where a value starts"},
    "anchor": {"type": "boolean", "default": False, "description": "whether keys are kept apart"},
}


def method(name: str, summary: str, paper: str, options: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "summary": summary, "paper": paper, "schema": {"type": "object", "properties": options}}


METHODS = {
    "default": "grace",
    "data": [
        method("ft", "Fine-tuning of one matrix.", "arXiv:2012.00363", FT),
        method("grace", "A codebook at one block answers.", "arXiv:2211.11031", GRACE),
    ],
}
