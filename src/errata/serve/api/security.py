"""Who may do what: keys and scopes, and the headers that keep a browser from being used against the server.

Keys travel in the Authorization header alone, never in a cookie, so a foreign page cannot act for somebody. A page that
gives its own name to this address (DNS rebinding) is refused by the Host header. Knows headers and keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.datastructures import Headers

from errata.serve.api.errors import ApiError
from errata.serve.keys import Key, Keys, Scope
from errata.serve.service import Service

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
CHALLENGE = {"WWW-Authenticate": "Bearer"}
_bearer = HTTPBearer(auto_error=False, description="A key of `errata keys add --scope edit`, or ERRATA_API_KEY.")


@dataclass(frozen=True)
class Caller:
    """Who asks: a key's name, or None for somebody without a key that the server knows."""

    name: str | None
    scope: Scope


def check_origin(headers: Headers, names: frozenset[str]) -> None:
    """Refuse a request that came by a name that is not this server's, or from a page of another. Raises: ApiError."""
    host = headers.get("host", "")
    if "*" not in names and _name(host) not in names:
        raise ApiError(
            403, f"this server does not go by the name '{_name(host)}'; allow it with --allow-host", code="host"
        )
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
        raise ApiError(403, "pages of other servers may not call this one", code="origin")


def known(keys: Keys, headers: Headers) -> Key | None:
    """The key in the Authorization header, if this server knows it."""
    scheme, _, text = headers.get("authorization", "").partition(" ")
    return keys.find(text.strip()) if scheme.lower() == "bearer" and text.strip() else None


def service_of(request: Request) -> Service:
    """The service that the app was built for."""
    return request.app.state.service


def asker(request: Request) -> Caller:
    """Who may ask and look: anybody, or with --require-key those with a key. Raises: ApiError."""
    service = service_of(request)
    key = known(service.keys, request.headers)
    if key is not None:
        return Caller(key.name, key.scope)
    if service.settings.require_key and service.keys.all():
        raise ApiError(401, "this server wants a key; send one as 'Authorization: Bearer …'", headers=CHALLENGE)
    return Caller(None, "ask")


def editor(
    request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Caller:
    """Who may change the sheet: those with a key of scope edit or admin. Raises: ApiError."""
    service = service_of(request)
    if not service.keys.all():
        raise ApiError(
            403,
            "changes are switched off: this server has no keys; make one with `errata keys add NAME --scope edit`, or "
            "start it with ERRATA_API_KEY set",
            code="writes_off",
        )
    if given is None:
        raise ApiError(401, "changes need a key; send one as 'Authorization: Bearer …'", headers=CHALLENGE)
    key = service.keys.find(given.credentials)
    if key is None:
        raise ApiError(
            401, "this server does not know that key; see `errata keys list`", code="invalid_api_key", headers=CHALLENGE
        )
    if not key.allows("edit"):
        raise ApiError(403, f"the key '{key.name}' may only ask; changes need one of scope edit or admin", code="scope")
    return Caller(key.name, key.scope)


Asker = Annotated[Caller, Depends(asker)]
Writer = Annotated[Caller, Depends(editor)]


def _name(host: str) -> str:
    """The host of a Host header, without its port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""
