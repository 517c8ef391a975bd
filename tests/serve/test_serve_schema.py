"""The API does what its OpenAPI description says, for whatever fits the description and whatever does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance, unsupported_method

from errata.serve.api.app import build
from errata.serve.settings import Settings
from serving import PATIENCE, Running

FEW = 4  # requests of each kind to each route
# A text may fit its description and still be longer than the model reads, say; a HEAD is answered as a GET; and who may
# change the sheet is tested route by route.
UNFIT = [positive_data_acceptance, unsupported_method, ignored_auth]
CHANGES = "POST /v1/edits"  # fitting what nobody meant takes long; its shape is tested without a key

schema = schemathesis.openapi.from_dict(build(Settings(sheet=Path("nowhere"))).openapi())
ROUTES = {result.ok().label: result.ok() for result in schema.get_all_operations()}
TAKING = [name for name, route in ROUTES.items() if route.body or route.query]  # any text is an id


def check(route: Any, mode: GenerationMode, server: Running) -> None:
    key = {} if route.label == CHANGES else {"Authorization": f"Bearer {server.keys['editor']}"}

    @settings(
        max_examples=FEW, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=route.as_strategy(generation_mode=mode))
    def does_what_it_says(case: Any) -> None:
        case.call_and_validate(server.url, headers=key, timeout=PATIENCE, excluded_checks=UNFIT)

    does_what_it_says()


def test_no_route_promises_what_it_never_sends() -> None:
    assert all("422" not in route.definition.raw["responses"] for route in ROUTES.values())


@pytest.mark.parametrize("name", ROUTES)
def test_what_fits_the_description(name: str, server: Running) -> None:
    check(ROUTES[name], GenerationMode.POSITIVE, server)


@pytest.mark.parametrize("name", TAKING)
def test_what_does_not_fit_it(name: str, server: Running) -> None:
    check(ROUTES[name], GenerationMode.NEGATIVE, server)
