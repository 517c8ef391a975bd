"""`errata serve`: the model of a sheet over HTTP, to be asked and corrected while it runs."""

from __future__ import annotations

import gc
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from errata.cli import _common as common
from errata.errors import BadConfig
from errata.registry import resolve_model
from errata.serve.desk.nursery import Nursery, alone, unthreaded
from errata.serve.settings import LOCAL, Settings

if TYPE_CHECKING:
    from fastapi import FastAPI

POSITIVE = click.IntRange(min=1)
SECONDS = click.FloatRange(min=0, min_open=True)
SWITCH = 0.0005  # seconds after which a thread that reads a request or builds a version lets the engine on
GRACE = 5  # seconds that answers under way are given when the server is told to end


@click.command()
@common.model_option
@common.sheet_option
@click.option("--host", default=Settings.host, show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=Settings.port, show_default=True, help="0: a free one.")
@click.option("--journal", metavar="URL", help="PostgreSQL that keeps the journal, for several servers of one sheet.")
@click.option("--gate", help="Conditions that every edit has to pass, such as locality>=0.99,drawdown<=0.01.")
@click.option("--require-key", is_flag=True, help="Asking needs a key too, once there are any (`errata keys`).")
@click.option(
    "--allow-host", "allowed_hosts", multiple=True, metavar="NAME", help="Another name the server goes by; * for any."
)
@click.option(
    "--max-batch", type=POSITIVE, default=Settings.max_batch, show_default=True, help="Rows decoded together."
)
@click.option(
    "--max-waiting", type=POSITIVE, default=Settings.max_waiting, show_default=True, help="Requests that may wait."
)
@click.option("--timeout", type=SECONDS, default=Settings.timeout, show_default=True, help="Seconds for an answer.")
@click.option(
    "--edit-timeout", type=SECONDS, default=Settings.edit_timeout, show_default=True, help="Seconds for a change."
)
@click.option(
    "--rate", type=click.FloatRange(min=0), default=Settings.rate, show_default=True,
    help="Requests a second of one key or address; 0: no limit.",
)  # fmt: skip
@click.option("--burst", type=POSITIVE, default=Settings.burst, show_default=True, help="Requests at once of the same.")
@click.option("--max-body", type=POSITIVE, default=Settings.max_body, show_default=True, help="Bytes of a request.")
@click.option("--max-rows", type=POSITIVE, default=Settings.max_rows, show_default=True, help="Answers to one request.")
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True,
    help="Of the log, JSON lines on stderr.",
)  # fmt: skip
def command(sheet: Path, model: str | None, log_level: str, allowed_hosts: tuple[str, ...], **options: object) -> None:
    """Serve a sheet: OpenAI's API for completions and chats, corrections, and a console in the browser.

    An edit that was accepted is on the disk and in every answer from the next request on. Changes need a key
    (`errata keys add`); asking does not, unless --require-key says so.
    """
    if model is None:
        common.existing(sheet)
    name = common.model_name(model) if model else None
    if name is not None:
        resolve_model(name)  # a name that the lab lacks is told before seconds of imports
    unthreaded()
    common.quiet()
    settings = Settings(sheet=sheet, model=name, allowed_hosts=allowed_hosts, **options)  # type: ignore[arg-type]
    try:
        from errata.serve.api.app import build
        from errata.serve.api.logs import configure
    except ModuleNotFoundError as error:
        raise BadConfig(f"serving needs {error.name}, which is not installed; pip install 'errata[serve]'") from error
    configure(log_level.upper())
    gc.freeze()  # a look through all that the imports made holds answers up for tenths of a second
    # Before there is a thread or an open port; where it cannot be done so, the service starts one, which takes longer.
    nursery = Nursery.forked() if alone() else None
    with _listening(settings) as opened:
        port = opened.getsockname()[1]
        where = "localhost" if settings.host in LOCAL else settings.host
        click.echo(f"serving {sheet} at http://{where}:{port} (console; /docs has the API). Ctrl-C ends it.")
        _run(partial(build, settings, nursery=nursery), opened)


def _listening(settings: Settings) -> socket.socket:
    """Raises BadConfig when the address is taken or not this machine's."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except OSError as error:
        what = error.strerror or str(error)
        raise BadConfig(f"cannot listen on {settings.host}:{settings.port} ({what}); choose another --port") from error


def _run(build: Callable[..., FastAPI], opened: socket.socket) -> None:
    """Until the server is told to end. Raises what kept it from starting."""
    import uvicorn

    sys.setswitchinterval(SWITCH)
    app = build(failed=lambda: setattr(server, "should_exit", True))
    server = uvicorn.Server(
        uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=GRACE, server_header=False)
    )
    with suppress(KeyboardInterrupt):  # it ended as it was asked to
        server.run(sockets=[opened])
    if app.state.service.failure is not None:
        raise app.state.service.failure
