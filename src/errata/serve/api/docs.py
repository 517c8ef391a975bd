"""/docs: the API for people to read, written from its own OpenAPI description. No script, nothing from elsewhere.

Knows OpenAPI and one template.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

router = APIRouter()


@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> HTMLResponse:
    """Every route with what it takes and gives."""
    description = request.app.openapi()
    models = description["components"]["schemas"]
    return HTMLResponse(_template().render(api=description, routes=_routes(description), models=models))


@cache
def _template() -> jinja2.Template:
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["spelled"] = _spelled
    return environment.get_template("docs.html.j2")


def _routes(description: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Routes by tag."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path, methods in description["paths"].items():
        for method, route in methods.items():
            told = {"path": path, "method": method.upper(), **route}
            found.setdefault((route.get("tags") or ["More"])[0], []).append(told)
    return found


def _spelled(schema: dict[str, Any]) -> str:
    """A type in words."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return " or ".join(dict.fromkeys(_spelled(part) for part in schema[union]))
    if "const" in schema or "enum" in schema:
        return " or ".join(repr(value) for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"list of {_spelled(schema.get('items', {}))}"
    return str(schema.get("type", "anything"))
