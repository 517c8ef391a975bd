"""One family of errors: every failure a user can meet, each saying in one line what is wrong and what to do.

Knows only names and exit codes. It imports nothing of Errata, so every other module may import it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar


class ErrataError(Exception):
    """Any failure that Errata explains, in one line; the command line ends with its `exit_code`."""

    exit_code: ClassVar[int] = 2  # 1 is kept for gates: a run that worked and whose figures fell short


class BadEdit(ErrataError):
    """An edit, or a file of edits, that is malformed or asks for something impossible."""


class UnknownName(ErrataError):
    """A name that no registry entry, label or preset has."""


class BadConfig(ErrataError):
    """An option that does not exist, has the wrong type or lies outside its range."""


class BadModel(ErrataError):
    """A model that cannot be loaded, holds NaN weights or has a structure Errata cannot read."""


class WrongModel(ErrataError):
    """A patch or sheet that was made for another base model."""


class BadPatch(ErrataError):
    """A patch file that is truncated, tampered with or unreadable."""


class BadSheet(ErrataError):
    """A sheet directory or journal that cannot be used."""


class CannotExport(ErrataError):
    """A patch that has no equivalent in the requested format."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The sentence " Did you mean 'x'?" for the known name closest to `name`, or "" when none is close.

    Letter case is ignored: 'GRACE' is a near miss of 'grace'.
    """
    by_folded = {candidate.casefold(): candidate for candidate in known}
    close = difflib.get_close_matches(name.casefold(), by_folded, n=1)
    return f" Did you mean '{by_folded[close[0]]}'?" if close else ""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UnknownName:
    """The error for a `kind` ("method", "format") that has no entry `name`: the likely one, then all."""
    entries = sorted(known)
    return UnknownName(
        f"unknown {kind} '{name}'.{did_you_mean(name, entries)} Known: {', '.join(entries) or 'none'}"
    )
