"""API keys: who may ask, edit or administer a served sheet. Kept in its `keys.json`, as hashes.

A key is 256 random bits, so that a plain SHA-256 of it cannot be searched; the key itself is shown once and kept
nowhere. Knows one file and one environment variable; knows nothing of HTTP.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

from errata.durable import write_atomic
from errata.errors import BadConfig, BadSheet, UnknownName, did_you_mean

FILE = "keys.json"
VARIABLE = "ERRATA_API_KEY"
PREFIX = "errata-"

Scope = Literal["ask", "edit", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)


@dataclass(frozen=True)
class Key:
    """A key as it is kept. `created` is ISO 8601 in UTC; `sha256` hex."""

    name: str
    scope: Scope
    sha256: str
    created: str

    def allows(self, scope: Scope) -> bool:
        """Each scope includes those before it."""
        return SCOPES.index(self.scope) >= SCOPES.index(scope)


class Keys:
    """The keys of a sheet, read again whenever the file was changed; ERRATA_API_KEY is one more, with all rights."""

    def __init__(self, sheet: Path, secret: str | None = None) -> None:
        self.path = sheet / FILE
        self._given = [Key("environment", "admin", _hash(secret), "")] if secret else []
        self._kept: list[Key] = []
        self._read_at: tuple[int, int] | None = None

    @classmethod
    def of(cls, sheet: Path) -> Keys:
        """With the key of the environment."""
        return cls(sheet, os.environ.get(VARIABLE) or None)

    def all(self) -> list[Key]:
        """Raises BadSheet when the file cannot be read."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            self._kept, self._read_at = [], None
            return list(self._given)
        if self._read_at != (found.st_mtime_ns, found.st_ino):
            self._kept, self._read_at = _read(self.path), (found.st_mtime_ns, found.st_ino)
        return self._given + self._kept

    def find(self, text: str) -> Key | None:
        """The key that this is, compared in constant time."""
        digest, found = _hash(text), None
        for key in self.all():
            if hmac.compare_digest(key.sha256, digest):
                found = key
        return found

    def add(self, name: str, scope: Scope) -> str:
        """A new key, which is returned and never seen again. Raises BadConfig when the name is taken."""
        kept = self._checked(name)
        text = PREFIX + secrets.token_urlsafe(32)
        kept.append(Key(name, scope, _hash(text), datetime.now(UTC).isoformat(timespec="seconds")))
        self._write(kept)
        return text

    def check(self, name: str) -> None:
        """Raises BadConfig when a key cannot have this name."""
        self._checked(name)

    def find_name(self, name: str) -> Key:
        """The key that is kept under a name. Raises UnknownName."""
        kept = {key.name: key for key in self.all() if key not in self._given}
        if name not in kept:
            raise UnknownName(f"no key '{name}'.{did_you_mean(name, kept)} `errata keys list` shows them all")
        return kept[name]

    def remove(self, name: str) -> Key:
        """Raises UnknownName."""
        gone = self.find_name(name)
        self._write([key for key in self.all() if key not in (gone, *self._given)])
        return gone

    def _checked(self, name: str) -> list[Key]:
        if not name.strip() or not name.isprintable():
            raise BadConfig("a key needs a name, by which the journal tells who made a change")
        kept = [key for key in self.all() if key not in self._given]
        if name in {key.name for key in kept}:
            raise BadConfig(f"there is a key '{name}' already; choose another name, or remove that one first")
        return kept

    def _write(self, kept: list[Key]) -> None:
        write_atomic(self.path, (json.dumps([asdict(key) for key in kept], indent=1) + "\n").encode())


def _read(path: Path) -> list[Key]:
    try:
        return [Key(**item) for item in json.loads(path.read_bytes())]
    except (OSError, ValueError, TypeError) as error:
        raise BadSheet(f"{path} cannot be read ({error}); restore it or remove it and make new keys") from error


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
