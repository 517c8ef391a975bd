"""Versions of the libraries that an event of the journal is stamped with. Knows installed packages alone."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

LIBRARIES = ("errata", "torch", "transformers")


def library_versions() -> dict[str, str]:
    """By name; "source" for one that runs from a source tree."""
    return {name: _version(name) for name in LIBRARIES}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "source"
