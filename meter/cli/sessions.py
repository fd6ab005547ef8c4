"""`meter sessions`: which streaming sessions are open, ended, or abandoned."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meter.commands.arguments import as_json, pipelines_file, read_config
from meter.commands.tables import table

if TYPE_CHECKING:
    from meter.journal import Session
    from meter.plugins import Plugins

__all__ = ["sessions"]

_STATES = ("open", "closed", "abandoned", "quarantined")


@click.command()
@pipelines_file
@click.option(
    "--state",
    "states",
    type=click.Choice(_STATES),
    multiple=True,
    help="Only these; repeatable. Default: all.",
)
@click.option("--customer", help="Only this customer's.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=50, show_default=True, help="The most rows."
)
@as_json
@click.pass_obj
def sessions(
    plugins: Plugins,
    pipelines: Path,
    *,
    states: tuple[str, ...],
    customer: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """List the streaming sessions of PIPELINES, the newest first.

    A closed one has its billed seconds. An abandoned one never had a Termination: it lasted
    between two bounds, and is not billed. A quarantined one had a Termination that meter could
    not use.
    """
    from meter.clock import SystemClock
    from meter.journal import open_journal

    config = read_config(pipelines, plugins, looking=True)
    journal = open_journal(config.journal, SystemClock(), create=False)
    try:
        found = journal.sessions.list(
            states=states,  # type: ignore[arg-type]  # because click has checked the choices
            customer_id=customer,
            limit=limit + 1,
        )
    finally:
        journal.close()
    rows = [_row(session) for session in found[:limit]]
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    if not rows:
        click.echo("no sessions")
        return
    shown = ("session_id", "customer_id", "state", "started_at", "seconds", "at_least", "at_most")
    header = ("session", "customer", "state", "started", "billed s", "at least s", "at most s")
    click.echo(table(header, [[row[name] for name in shown] for row in rows], right=(4, 5, 6)))
    if len(found) > limit:
        click.echo(f"\nthe newest {limit}; --limit shows more")


def _row(session: Session) -> dict[str, Any]:
    from meter.events import format_seconds
    from meter.streaming import upper_bound

    closed = session.state == "closed"
    upper = session.upper_seconds
    if upper is None:
        upper = upper_bound(session.started_at, session.expires_at, session.lower_seconds)
    return {
        "session_id": session.provider_id,
        "customer_id": session.customer_id,
        "dimensions": dict(session.dimensions),
        "collector": session.collector,
        "model": session.model,
        "state": session.state,
        "started_at": _moment(session.started_at),
        "expires_at": _moment(session.expires_at),
        "ended_at": None if session.ended_at is None else _moment(session.ended_at),
        "seconds": None if session.seconds is None else format_seconds(session.seconds),
        "at_least": None if closed else format_seconds(session.lower_seconds),
        "at_most": None if closed else format_seconds(upper),
    }


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
