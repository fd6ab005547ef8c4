"""The oldest usage that is not sent: the figure to watch, since an invoice does not wait.

An invoice is final an hour after its period (reference: stripe.md §4). What a batch leaves behind
is noted in the sink's own state, the oldest only: everything that waits is offered again within the
hour, so that another one takes its place once it is sent. Usage whose intent has no answer is found
in the ledger instead, also while Stripe cannot be reached.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from meter.sinks import Later, Report
from meter_stripe.intents import shown
from meter_stripe.late import late_reason, period_end

if TYPE_CHECKING:
    from collections.abc import Collection

    from meter.events import Event
    from meter.sinks import SinkContext, SinkState, StateWrite
    from meter_stripe.options import StripeOptions

__all__ = ["InvoiceWatch", "Unsent", "note_stuck", "note_unsent", "oldest_unsent", "warning"]

KEY: Final = "unsent"
LOOK_EVERY: Final = timedelta(minutes=1)
LOG_EVERY: Final = timedelta(hours=1)
OLD: Final = timedelta(minutes=45)
"""What is older and belongs to a period that has ended should have left long ago."""


class Unsent(msgspec.Struct, frozen=True):
    """The oldest usage that was left behind.

    Attributes:
        event_id: of the event.
        occurred_at: when the usage happened.
        waits: whether it goes on by itself; otherwise it is held.
    """

    event_id: str
    occurred_at: datetime
    waits: bool


def oldest_unsent(state: SinkState) -> Unsent | None:
    """Return what is noted."""
    value = state.get(KEY)
    return None if value is None else msgspec.json.decode(value, type=Unsent)


def note_unsent(
    state: SinkState, events: Collection[Event], report: Report
) -> tuple[StateWrite, ...]:
    """Make the write that notes the oldest of a batch's unsent usage, if it changes anything."""
    before = oldest_unsent(state)
    left = {*report.held, *report.later}
    oldest = min(
        (event for event in events if event.event_id in left),
        key=lambda event: event.occurred_at,
        default=None,
    )
    offered = before is not None and any(event.event_id == before.event_id for event in events)
    if oldest is None:
        return (state.delete(KEY),) if offered else ()
    if before is not None and not offered and before.occurred_at <= oldest.occurred_at:
        return ()
    after = Unsent(oldest.event_id, oldest.occurred_at, oldest.event_id in report.later)
    if after == before:
        return ()
    return (state.put(KEY, msgspec.json.encode(after).decode()),)


def note_stuck(state: SinkState, events: Collection[Event]) -> tuple[StateWrite, ...]:
    """Make the write that notes the oldest of a batch of which nothing is settled."""
    left = {event.event_id: Later("", event.recorded_at) for event in events}
    return note_unsent(state, events, Report(later=left))


class InvoiceWatch:
    """Logs, once an hour, that usage is about to miss its invoice."""

    def __init__(self, context: SinkContext, options: StripeOptions) -> None:
        """Look at the notes of one sink."""
        self._context = context
        self._options = options
        self._next = datetime.min.replace(tzinfo=UTC)

    def look(self, now: datetime) -> None:
        """Log if it is time and there is something to say."""
        if now < self._next:
            return
        oldest = oldest_unsent(self._context.state)
        words = oldest and warning(oldest.occurred_at, now, self._options)
        self._next = now + (LOG_EVERY if words else LOOK_EVERY)
        if oldest and words:
            self._context.log.warning(
                "stripe.unsent_near_invoice", extra={"event_id": oldest.event_id, "words": words}
            )


def warning(oldest: datetime, now: datetime, options: StripeOptions) -> str | None:
    """Say that usage is about to miss its invoice, or has; None while there is time.

    Args:
        oldest: when the oldest unsent usage happened.
        now: the present moment.
        options: of the sink.
    """
    late = late_reason(oldest, now, options)
    if late is not None:
        return f"is late: {late}"
    if options.period_day == "none":
        return None
    end = period_end(oldest, options.period_day)
    if now < end or now - oldest < OLD:
        return None
    final = (end + options.invoice_grace).astimezone(UTC)
    return f"is of the period up to {end:%Y-%m-%d}, whose invoice is final at {shown(final)}"
