"""`meter stripe carry-forward`: late usage is billed under today's date, by a person's word."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, Final

import click

from meter.commands.people import confirmed, who
from meter.commands.tables import one_line
from meter_stripe.asking import carried_out, why_not
from meter_stripe.late import late_reason
from meter_stripe.ledger import Decision
from meter_stripe.printing import counted, figure
from meter_stripe.selection import counts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meter.commands import SinkDesk, Standing
    from meter.events import Event
    from meter_stripe.sink import StripeSink

__all__ = ["carry_forward"]

PAGE: Final = 1_000
"""How many decisions are stored in one transaction."""


def carry_forward(
    desk: SinkDesk,
    event_ids: Sequence[str],
    *,
    all_late: bool,
    reason: str,
    yes: bool,
    seconds: float = 30,
) -> int:
    """Have held late usage billed now; return the exit code.

    Args:
        desk: of a sink `stripe`; may deliver.
        event_ids: of the journal; nothing is done when one of them cannot be carried.
        all_late: every event that is held because it is late.
        reason: why, for the record.
        yes: ask nothing.
        seconds: how long to wait for a running `meter run`.
    """
    if not all_late and (faults := [f for i in event_ids if (f := _fault(desk, i)) is not None]):
        click.echo("meter: nothing was done, because of", err=True)
        for fault in faults:
            click.echo(f"  {fault}", err=True)
        return 1
    wanted = None if all_late else set(event_ids)
    events = 0
    total = Decimal(0)
    for event in _late(desk, wanted):
        events += 1
        total += event.billed_seconds or Decimal(0)
    if not events:
        click.echo("no usage is held because it is late")
        return 0
    click.echo(
        f"{counted(events, 'event')} of {figure(total)} s: billed under today's date; the true "
        "time stays in the ledger"
    )
    if not confirmed("bill it now?", yes=yes):
        click.echo("nothing was done")
        return 1
    _decide(desk, _late(desk, wanted), reason)
    desk.hasten(("held",))

    def done() -> bool:
        return next(_late(desk, wanted, undecided=False), None) is None

    if not carried_out(
        desk, done, seconds=seconds, waiting_for="waits for the running `meter run`"
    ):
        click.echo(f"not all of it is sent yet: {why_not(desk)}", err=True)
        return 1
    click.echo("done: `meter events EVENT` shows where it stands")
    return 0


def _fault(desk: SinkDesk, event_id: str) -> str | None:
    """Say why an event that was named cannot be carried forward."""
    event, place = desk.find(event_id), desk.place(event_id)
    if event is None:
        return f"{one_line(event_id)}: the journal has no such event"
    if place != "held":
        return f"{one_line(event_id)}: it is {place}; only usage that is held can be carried"
    if late_reason(event.occurred_at, desk.clock.now(), desk.sink.options) is None:
        return f"{one_line(event_id)}: it is held, and not because it is late: see `meter events`"
    return None


def _late(desk: SinkDesk, wanted: set[str] | None, *, undecided: bool = True) -> Iterator[Event]:
    """Yield late usage that is held; a page of the ledger at a time."""
    sink: StripeSink = desk.sink
    now = desk.clock.now()
    books = sink.books()

    def held(standing: Standing) -> bool:
        return (
            standing.where == "held"
            and (wanted is None or standing.event.event_id in wanted)
            and late_reason(standing.event.occurred_at, now, sink.options) is not None
        )

    for page in _pages(s.event for s in desk.standings(unsettled=True) if held(s)):
        ids = [event.event_id for event in page]
        linked: set[str] = set()
        decided: set[str] = set()
        for each in books:
            links, decisions = each.ledger.links(ids), each.ledger.decisions(ids)
            linked.update(i for i, link in links.items() if link.now is not None)
            decided.update(decisions)
        skipped = linked | decided if undecided else linked
        yield from (event for event in page if event.event_id not in skipped)


def _decide(desk: SinkDesk, events: Iterable[Event], reason: str) -> None:
    sink: StripeSink = desk.sink
    books = sink.books()
    decision = Decision(act="carry_forward", who=who(), at=desk.clock.now(), reason=reason)
    for page in _pages(events):
        sink.context.state.commit(
            [
                each.ledger.decide(event.event_id, decision)
                for event in page
                for each in books
                if counts(each.options, event)
            ]
        )
        desk.acted("carry forward", reason, [event.event_id for event in page])


def _pages(events: Iterable[Event]) -> Iterator[list[Event]]:
    rest = iter(events)
    while page := list(islice(rest, PAGE)):
        yield page
