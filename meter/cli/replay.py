"""`meter replay`: have delivered events delivered again."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from meter.commands.arguments import as_json, naming, pipelines_file, read_config
from meter.commands.nearest import named
from meter.commands.people import confirmed, given_reason, who
from meter.commands.spans import since as since_option
from meter.commands.spans import until as until_option
from meter.commands.tables import one_line, table

if TYPE_CHECKING:
    from meter.config import SinkConfig
    from meter.journal import Journal, Wanted
    from meter.plugins import Plugins

__all__ = ["replay"]

PAGE: Final = 1_000
"""How many events are offered again in one transaction."""
SHOWN: Final = 10
"""How many customers are shown."""
_RISKS: Final = {
    "AT_LEAST_ONCE": "it does not know what it had: every event would be there twice",
    "WINDOW": "its destination refuses a repeat only for a time: what it had longer ago may be "
    "there twice",
    "REPAIRS": "it repairs its tail on opening, and does not know what lies below: an event may be "
    "there twice",
}
"""By guarantee, why a replay is not safe; of the others it is."""


@click.command()
@pipelines_file
@click.option("--sink", required=True, help="To which sink.")
@click.option("--event", "events", multiple=True, metavar="EVENT", help="Only this; repeatable.")
@click.option("--customer", help="Only this customer's.")
@since_option
@until_option
@click.option("--force", is_flag=True, help="Even where it may double; needs --reason.")
@click.option("--reason", help="Why; kept with who and when.")
@click.option("--dry-run", is_flag=True, help="Only say what it would do.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
@click.pass_obj
def replay(  # noqa: PLR0913  because each option is a parameter
    plugins: Plugins,
    pipelines: Path,
    *,
    sink: str,
    events: tuple[str, ...],
    customer: str | None,
    since: datetime | None,
    until: datetime | None,
    force: bool,
    reason: str | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Offer events that a sink took once to it again, as when its destination lost them.

    Says what it would do, and asks. No checkpoint moves, and what was never delivered is left as it
    is. Refused for a sink whose guarantee does not make it safe, unless --force: `meter plugins`
    tells each guarantee. Exit 1 when an EVENT was not delivered; then nothing is offered.
    """
    from meter.clock import SystemClock
    from meter.journal import NewAct, Wanted, open_journal

    config = read_config(pipelines, plugins, looking=True)
    entry = config.sinks[named(sink, config.sinks, "sink", config.path)]
    words = given_reason(reason, "--force") if force else (reason or "").strip()
    file = naming(pipelines)
    if not force:
        _refuse_unsafe(entry, file)
    clock = SystemClock()
    journal = open_journal(config.journal, clock, create=False)
    wanted = Wanted(customer, None, None, since, until, sink, "delivered")
    try:
        pages = _Pages(journal, wanted, events)
        customers = pages.count()
        total = sum(customers.values())
        if not as_json:
            _preview(customers, sink)
        if dry_run or not total:
            _end(sink, total, 0, running=journal.running(), as_json=as_json)
            return
        if not confirmed(f"offer {total} events to {sink} again?", yes=yes):
            raise SystemExit(1)
        act = NewAct(who(), words)
        done = 0
        for page in pages:
            done += len(journal.exceptions.replay(sink, page, clock.now(), act).wait())
            _progress(done, total)
        _end(sink, total, done, running=journal.running(), as_json=as_json)
        if not as_json and not journal.running():
            click.echo(f"no `meter run` works on this journal; deliver now: meter run --once{file}")
    finally:
        journal.close()


def _refuse_unsafe(entry: SinkConfig, file: str) -> None:
    from meter.errors import ConfigurationError

    guarantee = entry.extension.cls.guarantee
    risk = _RISKS.get(guarantee.name)
    if risk is not None:
        raise ConfigurationError(
            f"a replay to {entry.name} ({entry.type}) is not safe. Its guarantee is "
            f"{guarantee.value!r}: {risk}. Where you know better, say why: "
            f"meter replay{file} --sink {entry.name} --force --reason TEXT"
        )


class _Pages:
    """The offsets of what is to be replayed, page by page: as far as the journal went at first."""

    def __init__(self, journal: Journal, wanted: Wanted, events: tuple[str, ...]) -> None:
        self._journal = journal
        self._wanted = wanted
        self._head = journal.head()
        self._named = self._find(events) if events else None

    def count(self) -> Counter[str]:
        """Count the events by customer."""
        if self._named is not None:
            return Counter(self._named.values())
        found: Counter[str] = Counter()
        for page in self._pages():
            found.update(page.values())
        return found

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the offsets."""
        if self._named is not None:
            yield list(self._named)
            return
        for page in self._pages():
            yield list(page)

    def _pages(self) -> Iterator[dict[int, str]]:
        at = 0
        while at < self._head:
            found, at = self._journal.search.after(self._wanted, at, PAGE)
            if found:
                yield {e.offset: e.event.customer_id for e in found if e.offset <= self._head}

    def _find(self, events: tuple[str, ...]) -> dict[int, str]:
        from meter.commands.references import unknown

        sink = self._wanted.sink
        named: dict[int, str] = {}
        refused = []
        for event_id in events:
            stored = self._journal.locate(event_id)
            places = self._journal.exceptions.places(event_id)
            state = next((p.state for p in places if p.sink == sink), "pending")
            if stored is None:
                refused.append(unknown(event_id, self._journal))
            elif state != "delivered":
                refused.append(f"{event_id}: it is {state} for {sink}; see meter events {event_id}")
            elif self._fits(stored.event.customer_id, stored.event.occurred_at):
                named[stored.offset] = stored.event.customer_id
        if refused:
            click.echo("meter: nothing was offered again, because of", err=True)
            for line in refused:
                click.echo(f"  {one_line(line)}", err=True)
            raise SystemExit(1)
        return named

    def _fits(self, customer_id: str, occurred_at: datetime) -> bool:
        wanted = self._wanted
        return (
            wanted.customer_id in (None, customer_id)
            and (wanted.since is None or occurred_at >= wanted.since)
            and (wanted.until is None or occurred_at < wanted.until)
        )


def _preview(customers: Counter[str], sink: str) -> None:
    total = sum(customers.values())
    if not total:
        click.echo(f"nothing of that was delivered to {sink}")
        return
    click.echo(f"{total} events that {sink} took would be offered to it again:")
    click.echo(table(("customer", "events"), customers.most_common(SHOWN), right=(1,)))
    if len(customers) > SHOWN:
        click.echo(f"and {len(customers) - SHOWN} more customers")


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r  {done} of {total} ", err=True, nl=done >= total)


def _end(sink: str, total: int, done: int, *, running: bool, as_json: bool) -> None:
    if as_json:
        document = {"sink": sink, "events": total, "replayed": done, "running": running}
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    elif done and running:
        click.echo(f"the running `meter run` offers {done} events again within a second")
    elif done:
        click.echo(f"{done} events will be offered again")
