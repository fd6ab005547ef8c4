"""What `meter check --connect` looks at on this machine: the journal, its disk, the port."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from meter.cli.check_findings import Finding
from meter.errors import ConfigurationError, FatalSinkError

if TYPE_CHECKING:
    from meter.config import Config, ServerOptions
    from meter.sinks import Secret

__all__ = ["journal_findings", "server_findings"]

ASK_SECONDS: Final = 5.0
LEAST_BYTES: Final = 100 * 1024**2
FEW_BYTES: Final = 1024**3
_GIB: Final = 1024**3


def journal_findings(config: Config) -> Iterator[Finding]:
    """Look whether the journal can be written and has room; makes nothing."""
    from meter.journal.lock import is_locked
    from meter.sinks import room_for

    path = Path(config.journal)
    try:
        words = room_for(path)
    except FatalSinkError as error:
        yield Finding("journal", "wrong", str(error).replace("`path:`", "`journal:`"))
        return
    if not path.parent.exists():  # one that is missing may be a disk that is not there
        missing = f"there is no folder {path.parent}, and `meter run` makes none; make it"
        yield Finding("journal", "wrong", missing)
        return
    if path.exists() and not os.access(path.parent, os.W_OK | os.X_OK):
        yield Finding(
            "journal", "wrong", f"{path.parent} cannot be written by this user; SQLite needs it"
        )
        return
    running = "; a `meter run` works on it now" if is_locked(path) else ""
    yield Finding("journal", "ok", f"{words}{running}")
    yield _room(path)


def _room(path: Path) -> Finding:
    """Say how much room the journal's disk has."""
    there = next(folder for folder in path.absolute().parents if folder.exists())
    free = shutil.disk_usage(there).free
    words = f"{free / _GIB:,.1f} GiB free on its disk"
    if free < LEAST_BYTES:
        return Finding(
            "journal", "wrong", f"{words}: when it is full, webhooks are answered 503; make room"
        )
    return Finding("journal", "warning" if free < FEW_BYTES else "ok", words)


def server_findings(config: Config) -> Iterator[Finding]:
    """Look whether the port is free, and whether the server's own secrets can be guessed."""
    from meter.collectors.checking import weaknesses

    options = config.server
    yield _port(config, options)
    secrets: dict[str, Secret | None] = {
        "admin_secret": options.admin_secret,
        "previous_admin_secret": options.previous_admin_secret,
        "metrics_secret": options.metrics_secret,
    }
    for line in weaknesses(**secrets):
        yield Finding("server", "warning", line.removeprefix("warning: "))


def _port(config: Config, options: ServerOptions) -> Finding:
    from meter.journal.lock import is_locked
    from meter.server.listening import bind

    where = f"{options.host}:{options.port}"
    try:
        bind(options.host, options.port).close()
    except ConfigurationError as error:
        if is_locked(Path(config.journal)) and _answers(options):
            return Finding("server", "ok", f"{where} is the running meter's")
        return Finding("server", "wrong", str(error))
    return Finding("server", "ok", f"{where} is free" if options.port else "any free port")


def _answers(options: ServerOptions) -> bool:
    """Tell whether a meter answers on the port."""
    import httpx

    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(options.host, options.host)  # noqa: S104  because nothing is bound to it here
    host = f"[{host}]" if ":" in host else host
    try:
        answer = httpx.get(
            f"http://{host}:{options.port}/healthz", timeout=ASK_SECONDS, trust_env=False
        )
    except httpx.HTTPError:
        return False
    return answer.is_success
