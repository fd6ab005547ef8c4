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

from meter.cli import logs
from meter.cli.sandbox_load import Load
from meter.cli.sandbox_report import report
from meter.errors import ConfigurationError, MeterError, PluginError

if TYPE_CHECKING:
    from meter.config import Config
    from meter.journal import Journal
    from meter.plugins import Plugins
    from meter.sandbox.double import AssemblyAISandbox

__all__ = ["run_sandbox"]

WAIT_SECONDS: Final = 90.0
"""How long everything may take to arrive after the last job was submitted."""
POLL_SECONDS: Final = 0.1
SEED: Final = 7
TIME_SCALE: Final = 60.0
"""How many of AssemblyAI's seconds pass in one of ours while sessions stream."""


class _Interrupted(MeterError):
    """Somebody pressed Ctrl-C."""

    exit_code = 130


def run_sandbox(pipelines: Path, plugins: Plugins, *, jobs: int, streams: int) -> None:
    """Run a pipelines file in a fresh folder, with no account and no network.

    Raises:
        ConfigurationError: the file has faults, or no collector that customers could use.
        PluginError: a sink or collector has no sandbox.
    """
    from meter.clock import SystemClock
    from meter.config import load_config, required_variables
    from meter.delivery.contexts import unopened
    from meter.journal import open_journal
    from meter.sandbox.double import AssemblyAISandbox
    from meter.sandbox.faults import Faults
    from meter.sandbox.streaming import StreamingSandbox
    from meter.sandbox.stripe_rules import StripeRules
    from meter.sandbox.stripe_sandbox import StripeSandbox
    from meter.sandbox.webhooks import WebhookRules
    from meter.sinks import Home

    _no_proxy()
    folder = Path.cwd() / f"meter-sandbox-{datetime.now():%Y%m%d-%H%M%S}-{os.getpid()}"  # noqa: DTZ005  a name for people here
    # Long enough for every kind of secret.
    environ = {n: f"sandbox-{n.lower()}".ljust(40, "-") for n in required_variables(pipelines)}
    given = {name: value for name, value in os.environ.items() if value}
    home = Home(folder, confined=True)
    config = load_config(pipelines, plugins, environ={**environ, **given}, home=home)
    logs.name_pipelines(config)
    faults = Faults(failed_jobs=0.1, webhook_twice=0.15, webhook_lost=0.1, get_server_error=0.03)
    rules = WebhookRules(attempts=10, retry_wait=1.0, timeout=10.0)
    with (
        AssemblyAISandbox(faults=faults, latency=0.4, seed=SEED, rules=rules) as rest,
        StreamingSandbox(time_scale=TIME_SCALE, seed=SEED) as streaming,
        StripeSandbox(seed=SEED, rules=StripeRules(unknown_customers="accepted")) as stripe,
    ):
        addresses = {
            "assemblyai": rest.base_url,
            "assemblyai_streaming": streaming.url,
            "stripe": stripe.base_url,
        }
        config = _sandboxed(config, addresses)
        load = Load.for_config(config, jobs=jobs, streams=streams, upstream=streaming.url)
        try:
            folder.mkdir()
        except OSError as error:
            raise ConfigurationError(
                f"cannot make {folder}: {error.strerror}; run it in a folder that you can write in"
            ) from None
        journal = open_journal(config.journal, SystemClock(), run=True)
        try:
            click.echo(
                f"Doubles of AssemblyAI listen on {rest.base_url} and {streaming.url}, one of "
                f"Stripe on {stripe.base_url}; nothing leaves this machine."
            )
            _drive(config, plugins, journal, load, rest)
            jobs_seconds = [job.seconds for job in rest.truth() if job.status == "completed"]
            streamed = [session.session_seconds for session in streaming.truth()]
            expected = sum((seconds or Decimal(0) for seconds in jobs_seconds), sum(streamed))
            sinks = {
                name: unopened(entry, journal=journal, clock=SystemClock())
                for name, entry in config.sinks.items()
            }
            if not report(journal, folder, Decimal(expected), sinks):
                raise SystemExit(1)
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
    config: Config, plugins: Plugins, journal: Journal, load: Load, rest: AssemblyAISandbox
) -> None:
    """Run the file while simulated customers use it, until all of it is delivered."""
    from meter.cli.run import run_loop
    from meter.clock import SystemClock
    from meter.server.running import Run

    ended = threading.Event()

    async def both() -> signal.Signals | None:
        done, opened = asyncio.Event(), asyncio.get_running_loop().create_future()
        process = Run(config, journal=journal, plugins=plugins, clock=SystemClock())
        running = asyncio.create_task(process.forever(announce=opened.set_result, until=done))
        await asyncio.wait([running, opened], return_when=asyncio.FIRST_COMPLETED)
        if opened.done():
            customers = asyncio.create_task(
                asyncio.to_thread(
                    _customers, opened.result(), load, journal, rest, ended, process.flush
                )
            )
            await asyncio.wait([running, customers], return_when=asyncio.FIRST_COMPLETED)
            done.set()
            ended.set()
            await asyncio.gather(customers, return_exceptions=running.done())
        return await running

    if run_loop(both()) is not None:
        raise _Interrupted("interrupted")


def _customers(
    address: str,
    load: Load,
    journal: Journal,
    rest: AssemblyAISandbox,
    ended: threading.Event,
    flush: Callable[[], None],
) -> None:
    """Submit jobs and stream sessions with the real SDK, then wait until all is delivered."""

    def unless_ended(shown: Callable[[int], None]) -> Callable[[int, int], None]:
        def progressed(done: int, _total: int) -> None:
            if ended.is_set():
                raise _Interrupted("interrupted")
            shown(done)

        return progressed

    if load.jobs:
        with _progress(f"{load.jobs} jobs, submitted with the assemblyai SDK", load.jobs) as shown:
            load.submit(address, rest.base_url, seed=SEED, on_progress=unless_ended(shown))
    if load.streams:
        title = f"{load.streams} sessions, streamed {load.way} with the assemblyai SDK"
        with _progress(title, load.streams) as shown:
            load.stream(address, seed=SEED, on_progress=unless_ended(shown))
    flush()
    total = load.jobs + load.streams
    with _progress("recorded, and delivered to every sink", total) as shown:
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline and not ended.is_set():
            totals = journal.totals()
            recorded = sum(totals.events.values())
            shown(recorded)
            waiting = totals.receipts.get("open", 0) + sum(
                b.pending + b.retrying for b in totals.balances if not b.parked
            )
            if recorded >= total and not waiting:
                return
            if recorded >= total:
                flush()
            time.sleep(POLL_SECONDS)
    if not ended.is_set():
        click.echo(
            "meter: not everything arrived in time; see `meter status` in the folder below",
            err=True,
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
