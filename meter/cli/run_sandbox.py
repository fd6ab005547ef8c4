"""`meter run --sandbox`: the very same file against local doubles, with simulated customers."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from meter.cli.tables import table
from meter.errors import ConfigurationError, MeterError, PluginError
from meter.events import format_seconds

if TYPE_CHECKING:
    from meter.config import Config
    from meter.journal import Journal
    from meter.plugins import Plugins
    from meter.reports.usage import CustomerUsage
    from meter.sandbox.double import AssemblyAISandbox

__all__ = ["run_sandbox"]

WAIT_SECONDS: Final = 90.0
"""How long everything may take to arrive after the last job was submitted."""
POLL_SECONDS: Final = 0.1
SEED: Final = 7


class _Interrupted(MeterError):
    """Somebody pressed Ctrl-C."""

    exit_code = 130


def run_sandbox(pipelines: Path, plugins: Plugins, *, jobs: int) -> None:
    """Run a pipelines file in a fresh folder, with no account and no network.

    Raises:
        ConfigurationError: the file has faults, or no webhook collector to send jobs to.
        PluginError: a sink or collector has no sandbox.
    """
    from meter.clock import SystemClock
    from meter.config import load_config, required_variables
    from meter.journal import open_journal
    from meter.reports.usage import usage_by_customer
    from meter.sandbox.double import AssemblyAISandbox
    from meter.sandbox.faults import Faults
    from meter.sandbox.webhooks import WebhookRules
    from meter.sinks import Home

    _no_proxy()
    folder = Path.cwd() / f"meter-sandbox-{datetime.now():%Y%m%d-%H%M%S}-{os.getpid()}"  # noqa: DTZ005  a name for people here
    environ = {name: f"sandbox-{name.lower()}" for name in required_variables(pipelines)}
    given = {name: value for name, value in os.environ.items() if value}
    home = Home(folder, confined=True)
    config = load_config(pipelines, plugins, environ={**environ, **given}, home=home)
    faults = Faults(failed_jobs=0.1, webhook_twice=0.15, webhook_lost=0.1, get_server_error=0.03)
    rules = WebhookRules(attempts=10, retry_wait=1.0, timeout=10.0)
    with AssemblyAISandbox(faults=faults, latency=0.4, seed=SEED, rules=rules) as double:
        config = _sandboxed(config, {"assemblyai": double.base_url})
        folder.mkdir()
        journal = open_journal(config.journal, SystemClock(), run=True)
        try:
            click.echo(
                f"AssemblyAI's double listens on {double.base_url}; nothing leaves this machine."
            )
            _drive(config, plugins, journal, double, jobs)
            truth = [row for row in double.truth() if row.status in ("completed", "error")]
            expected = sum((row.seconds or Decimal(0) for row in truth), Decimal(0))
            usage = usage_by_customer(journal)
            _print_usage(usage)
            _print_end(
                config, folder, journal, sum((u.seconds for u in usage), Decimal(0)), expected
            )
        finally:
            journal.close()


def _no_proxy() -> None:
    """Keep proxies out of it: httpx obeys their variables even for this machine."""
    for name in ("NO_PROXY", "no_proxy"):
        local = "127.0.0.1,localhost"
        os.environ[name] = f"{os.environ[name]},{local}" if os.environ.get(name) else local


def _sandboxed(config: Config, doubles: dict[str, str]) -> Config:
    """Point everything at the doubles; refuse what cannot be."""
    changed: dict[str, dict[str, Any]] = {"collectors": {}, "sinks": {}}
    for section, entries in (("collectors", config.collectors), ("sinks", config.sinks)):
        for name, entry in entries.items():
            options = entry.extension.cls.sandboxed(entry.options, doubles)
            if options is None:
                raise PluginError(
                    f"{section}.{name}: type {entry.type!r} has no sandbox, so it could reach "
                    "the real thing; take it out of a copy of the file and run that"
                )
            changed[section][name] = dataclasses.replace(entry, options=options)
    server = config.server.model_copy(update={"host": "127.0.0.1", "port": 0})
    return dataclasses.replace(
        config, server=server, collectors=changed["collectors"], sinks=changed["sinks"]
    )


def _drive(
    config: Config, plugins: Plugins, journal: Journal, double: AssemblyAISandbox, jobs: int
) -> None:
    """Run the file while simulated customers submit jobs, until all of it is delivered."""
    from meter.cli.run import run_loop
    from meter.clock import SystemClock
    from meter.server.running import Run

    target = _webhook(config)
    ended = threading.Event()

    async def both() -> signal.Signals | None:
        done, opened = asyncio.Event(), asyncio.get_running_loop().create_future()
        process = Run(config, journal=journal, plugins=plugins, clock=SystemClock())
        running = asyncio.create_task(process.forever(announce=opened.set_result, until=done))
        await asyncio.wait([running, opened], return_when=asyncio.FIRST_COMPLETED)
        if opened.done():
            customers = asyncio.create_task(
                asyncio.to_thread(_customers, opened.result(), target, journal, double, jobs, ended)
            )
            await asyncio.wait([running, customers], return_when=asyncio.FIRST_COMPLETED)
            done.set()
            ended.set()
            await asyncio.gather(customers, return_exceptions=running.done())
        return await running

    if run_loop(both()) is not None:
        raise _Interrupted("interrupted")


def _webhook(config: Config) -> Any:
    for collector in config.collectors.values():
        if collector.type == "webhook":
            return collector.options
    raise ConfigurationError(
        f"{config.path}: --sandbox sends jobs to a collector of type webhook, and there is none"
    )


def _customers(
    address: str,
    target: Any,
    journal: Journal,
    double: AssemblyAISandbox,
    jobs: int,
    ended: threading.Event,
) -> None:
    """Submit jobs through the real SDK, then wait until everything is delivered."""
    from meter.sandbox.customers import CUSTOMERS, submit_jobs

    def submitted(done: int, _total: int) -> None:
        if ended.is_set():
            raise _Interrupted("interrupted")
        shown(done)

    title = f"{jobs} jobs of {len(CUSTOMERS)} customers, submitted with the assemblyai SDK"
    with _progress(title, jobs) as shown:
        submit_jobs(
            base_url=double.base_url,
            api_key=target.api_key.get_secret_value(),
            webhook_url=address + target.path,
            secret_header=target.header,
            secret=target.secret.get_secret_value(),
            jobs=jobs,
            seed=SEED,
            on_progress=submitted,
        )
    with _progress("jobs recorded, and delivered to every sink", jobs) as shown:
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline and not ended.is_set():
            totals = journal.totals()
            recorded = sum(totals.events.values())
            shown(recorded)
            waiting = totals.receipts.get("open", 0) + sum(
                b.pending + b.retrying for b in totals.balances if not b.parked
            )
            if recorded >= jobs and not waiting:
                return
            time.sleep(POLL_SECONDS)
    click.echo(
        "meter: not everything arrived in time; see `meter status` in the folder below", err=True
    )


@contextlib.contextmanager
def _progress(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a bar on a terminal, and nothing when piped."""
    if not sys.stderr.isatty():
        yield lambda _done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=total)
        yield lambda done: progress.update(task, completed=done)


def _print_usage(usage: list[CustomerUsage]) -> None:
    most = max((u.seconds for u in usage), default=Decimal(0)) or Decimal(1)
    rows = [
        (
            u.customer_id,
            u.events,
            format_seconds(u.seconds),
            f"{u.seconds / 3600:.2f}",
            u.failed or "",
            "█" * max(1, int(u.seconds / most * 24)) if u.seconds else "",
        )
        for u in usage
    ]
    header = ("customer", "jobs", "seconds", "hours", "failed, not billed", "")
    click.echo()
    click.echo(table(header, rows, right=(1, 2, 3, 4)))
    click.echo()


def _print_end(
    config: Config, folder: Path, journal: Journal, counted: Decimal, expected: Decimal
) -> None:
    agrees = counted == expected
    click.echo(
        f"{format_seconds(counted)} seconds recorded; AssemblyAI's double counts "
        f"{format_seconds(expected)}: {'the same' if agrees else 'NOT the same'}."
    )
    balances = journal.totals().balances
    for balance in balances:
        state = "balances" if balance.balances else "DOES NOT BALANCE"
        other = balance.accounted - balance.delivered - balance.filtered
        click.echo(
            f"  {balance.sink}: {balance.recorded} recorded = {balance.delivered} delivered + "
            f"{balance.filtered} filtered + {other} other: {state}"
        )
    click.echo(f"\nEverything lies in {folder}")
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix not in (".lock", ".db-wal", ".db-shm"):
            click.echo(f"  {path.relative_to(folder)}")
    del config
    if not agrees or not all(b.balances and not b.pending for b in balances):
        raise SystemExit(1)
