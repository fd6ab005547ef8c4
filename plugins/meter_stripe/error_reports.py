"""Error reports: what Stripe took and does not count after all (reference: stripe.md §2).

Stripe posts that there is a report; it is kept before the answer. The sink's own thread fetches it
then, and flips the intents that it names. Stripe names samples only: what it does not name is
looked for by comparing the days that may be meant.

Kept in the sink's own state:

    report/<event id>       Kept: posted, and not seen to yet
    reported/<event id>     seen to at this time; what Stripe posts again is known by it
    recheck/<event id>      Recheck: the days of a report's window are being asked for
"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from meter.errors import JournalError, RetryableSinkError, SinkError
from meter.sinks import Report, Response, Route
from meter_stripe.ledger import Ledger, meter_ids
from meter_stripe.troubles import Trouble, dismiss, trouble, troubles
from meter_stripe.unwinding import Busy, Unwinding

if TYPE_CHECKING:
    from meter.sinks import Request, SinkState, StateWrite
    from meter_stripe.client import ErrorReport, Notification
    from meter_stripe.intents import Intent
    from meter_stripe.sink import StripeSink

__all__ = ["Kept", "pending", "process", "routes"]

ERROR_REPORT: Final = "v1.billing.meter.error_report_triggered"
NO_METER: Final = "v1.billing.meter.no_meter_found"
OURS: Final = frozenset({ERROR_REPORT, NO_METER})

PAUSE: Final = timedelta(seconds=30)
"""After a report could not be fetched, no other is tried for so long: deliveries go first."""
MOST_WAIT: Final = timedelta(hours=1)
GIVE_UP: Final = timedelta(hours=24)
"""A report that Stripe refuses to show is given up so long after it was posted."""
SETTLE: Final = timedelta(hours=1)
"""Summaries are believed so long after the last delivery."""
SLACK: Final = timedelta(hours=1)
"""Stripe's window is when it looked, not when it received."""
KNOWN: Final = timedelta(days=40)
"""How long it is remembered that a report was seen to; Stripe repeats itself for days."""
PAGE: Final = 1000
LONGEST_NAME: Final = 200

_TAKEN: Final = Response(200, b'{"received":true}')
_IGNORED: Final = Response(200, b'{"received":true,"ignored":true}')
_NOT_SIGNED: Final = Response(401, b'{"error":"the signature is missing or wrong"}')
_NOT_JSON: Final = Response(400, b'{"error":"the body is not JSON"}')
_NOT_THIN: Final = Response(
    400, b'{"error":"no thin event: set the event destination\'s payload style to thin"}'
)
_UNWRITABLE: Final = Response(
    503, b'{"error":"not stored; please retry"}', headers=((b"retry-after", b"10"),)
)


class Kept(msgspec.Struct, frozen=True, omit_defaults=True):
    """A report that was posted.

    Attributes:
        type: Stripe's type of the event.
        at: when it came.
        tries: how often fetching it failed.
        failed_at: when it failed last.
        next_at: not before.
        words: why it failed.
    """

    type: str
    at: datetime
    tries: int = 0
    failed_at: datetime | None = None
    next_at: datetime | None = None
    words: str = ""


class Recheck(msgspec.Struct, frozen=True, omit_defaults=True):
    """A report's window, and up to which identifier the meter's intents were looked through."""

    meter_id: str
    start: datetime
    end: datetime
    after: str = ""


# -- what Stripe posts -----------------------------------------------------------------------------


def routes(sink: StripeSink) -> list[Route]:
    """Return the path that Stripe posts to; none without a secret to verify it by."""
    secret = sink.options.webhook_secret
    if secret is None:
        return []
    receive = partial(_receive, sink, secret.get_secret_value())
    return [Route("POST", sink.options.webhook_path, receive)]


async def _receive(sink: StripeSink, secret: str, request: Request) -> Response:
    """Verify and keep, in a thread: the SDK is slow to import, and the disk may be."""
    body = await request.body()
    signature = (request.header(b"stripe-signature") or b"").decode("ascii", "replace")
    return await asyncio.to_thread(_take, sink, secret, body, signature)


def _take(sink: StripeSink, secret: str, body: bytes, signature: str) -> Response:
    told = _verified(sink, secret, body, signature)
    if isinstance(told, Response):
        return told
    log, state = sink.context.log, sink.context.state
    if told.type not in OURS:
        return _IGNORED
    if told.livemode != (sink.options.mode == "live"):
        mode = "live" if told.livemode else "test"
        told_of = {"stripe_event": told.event_id, "mode": mode}
        log.warning("stripe.report_of_other_mode", extra=told_of)
        return _IGNORED
    try:
        if not state.get_many([f"report/{told.event_id}", f"reported/{told.event_id}"]):
            kept = Kept(told.type, sink.context.clock.now())
            state.commit([_keep(state, told.event_id, kept)])
    except JournalError as error:
        log.error("stripe.report_unsaved", extra={"error": str(error)})  # noqa: TRY400  because the text is enough
        return _UNWRITABLE
    return _TAKEN


def _verified(
    sink: StripeSink, secret: str, body: bytes, signature: str
) -> Notification | Response:
    """Return what was posted, or what to answer when it is not Stripe's, or no thin event."""
    from meter_stripe.client import SignatureRefused, StripeApi

    if not signature:
        return _NOT_SIGNED
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return _NOT_JSON
    try:
        told = StripeApi.notification(body, signature, secret)
    except SignatureRefused as error:
        sink.context.log.warning("stripe.report_refused", extra={"error": str(error)})
        return _NOT_SIGNED if _is_thin(document) else _NOT_THIN
    return told if 0 < len(told.event_id) <= LONGEST_NAME else _NOT_THIN


def _is_thin(document: Any) -> bool:
    return isinstance(document, dict) and document.get("object") == "v2.core.event"


def pending(state: SinkState) -> list[tuple[str, Kept]]:
    """Return the reports that were not seen to yet, by event id; for `meter status` too."""
    return [
        (key.removeprefix("report/"), msgspec.json.decode(value, type=Kept))
        for key, value in state.scan("report/", limit=PAGE)
    ]


# -- what is done about it, in the sink's thread ---------------------------------------------------


def process(sink: StripeSink, now: datetime) -> Report | None:
    """See to one report, or to a page of intents for one; None when nothing is due.

    Never raises what Stripe's answers raise: a report that cannot be fetched waits, and
    deliveries go on.
    """
    state = sink.context.state
    found = _due(pending(state), now)
    if found is None:
        return _rechecked(state, now)
    event_id, kept = found
    from meter_stripe.api_errors import StripeRefused

    try:
        report = sink.api().error_report(event_id)
    except StripeRefused as error:
        if now >= kept.at + GIVE_UP:
            words = f"the report {event_id} of {kept.at:%Y-%m-%d} cannot be had: {error}"
            return Report(state=[*_done(state, event_id, now), _said(state, event_id, words, now)])
        return _later(state, event_id, kept, str(error), now)
    except SinkError as error:
        wait = error.retry_after if isinstance(error, RetryableSinkError) else None
        return _later(state, event_id, kept, str(error), now, wait)
    try:
        return _seen_to(sink, event_id, report, now)
    except Busy as other:
        return _later(state, event_id, kept, f"waits for {other}, which is under way", now)


def _due(kept: list[tuple[str, Kept]], now: datetime) -> tuple[str, Kept] | None:
    if any(one.failed_at is not None and now < one.failed_at + PAUSE for _, one in kept):
        return None
    due = [(i, one) for i, one in kept if one.next_at is None or one.next_at <= now]
    return min(due, key=lambda pair: (pair[1].tries, pair[1].at, pair[0]), default=None)


def _later(
    state: SinkState,
    event_id: str,
    kept: Kept,
    words: str,
    now: datetime,
    wait: float | None = None,
) -> Report:
    seconds = max(wait or 0.0, PAUSE.total_seconds() * 2.0 ** min(kept.tries, 10))
    next_at = now + min(MOST_WAIT, timedelta(seconds=seconds))
    again = Kept(kept.type, kept.at, kept.tries + 1, now, next_at, words)
    return Report(state=[_keep(state, event_id, again)])


def _seen_to(sink: StripeSink, event_id: str, report: ErrorReport, now: datetime) -> Report:
    """Flip what a fetched report names, and have the rest looked for.

    Raises:
        Busy: an intent that it names cannot be flipped yet.
    """
    state = sink.context.state
    done = _done(state, event_id, now)
    ledgers = _ledgers(state, report.meter_id)
    if not ledgers:
        sink.context.log.info("stripe.report_of_other_meter", extra={"stripe_event": event_id})
        return Report(state=done)
    named = {each.identifier: each for each in report.samples if each.identifier is not None}
    parts: list[Report] = []
    for ledger in ledgers:
        unwinding = Unwinding(ledger, now)
        for intent in _in_order(ledger.intents(named)):
            sample = named[intent.identifier]
            unwinding.reject(intent, f"Stripe reported {sample.code}: {sample.message}")
        parts.append(unwinding.report())
    unnamed = sum(report.codes.values()) - len(named)
    sink.context.log.warning(
        "stripe.reported",
        extra={"stripe_event": event_id, "codes": dict(report.codes), "named": len(named)},
    )
    codes = ", ".join(f"{code} ({count})" for code, count in report.codes.items()) or "no reason"
    if report.meter_id is None:
        words = (
            f"Stripe has no meter for {sum(report.codes.values())} meter events: {codes}; see "
            "`meter stripe setup`, then redrive the dead letters"
        )
        done.append(_said(state, event_id, words, now))
    elif unnamed > 0:
        words = (
            f"Stripe reported {unnamed} meter events that it does not count and does not name: "
            f"{codes}; the days that may be meant are being compared (`meter stripe verify`)"
        )
        start, end = report.start or now - GIVE_UP, report.end or now
        recheck = Recheck(report.meter_id, start, end)
        done += [
            _said(state, event_id, words, now, meter_id=report.meter_id, ends="compared"),
            state.put(f"recheck/{event_id}", msgspec.json.encode(recheck).decode()),
        ]
    return Report(
        recall={event_id: why for part in parts for event_id, why in part.recall.items()},
        hasten=any(part.hasten for part in parts),
        state=[*(write for part in parts for write in part.state), *done],
    )


def _in_order(intents: dict[str, Intent]) -> list[Intent]:
    """Put negative events first, so that what they took back is billed again before it is not."""
    return sorted(intents.values(), key=lambda i: (i.kind != "correction", i.identifier))


def _ledgers(state: SinkState, meter_id: str | None) -> list[Ledger]:
    """Return the ledger of a meter that the sink ever used, or all of them for none."""
    if meter_id is None:
        return [Ledger(state, found) for found in meter_ids(state).values()]
    ledger = Ledger(state, meter_id)
    return [] if ledger.record() is None else [ledger]


def _rechecked(state: SinkState, now: datetime) -> Report | None:
    """Look through a page of intents for those that a report's window may mean."""
    for key, value in state.scan("recheck/", limit=1):
        recheck = msgspec.json.decode(value, type=Recheck)
        ledger = Ledger(state, recheck.meter_id)
        found = ledger.page(recheck.after, PAGE)
        days = {
            (intent.slot.date(), intent.customer): intent
            for intent in found
            if _may_be_meant(intent, recheck)
        }
        writes = [ledger.ask(i.slot, i.customer, now + SETTLE) for i in days.values()]
        if len(found) < PAGE:
            writes.append(state.delete(key))
        else:
            again = msgspec.structs.replace(recheck, after=found[-1].identifier)
            writes.append(state.put(key, msgspec.json.encode(again).decode()))
        return Report(state=writes)
    over = [
        dismiss(state, name)
        for name, one in troubles(state)
        if one.ends == "compared"
        and one.meter_id is not None
        and not any(Ledger(state, one.meter_id).asked())
    ]
    return Report(state=over) if over else None


def _may_be_meant(intent: Intent, recheck: Recheck) -> bool:
    if intent.state not in ("open", "delivered", "disputed", "cancelling"):
        return False
    last = intent.arrived_at or recheck.end
    return intent.frozen_at <= recheck.end + SLACK and last >= recheck.start - SLACK


def _done(state: SinkState, event_id: str, now: datetime) -> list[StateWrite]:
    """Make the writes that end a report, and forget those of long ago."""
    old = [
        state.delete(key)
        for key, at in state.scan("reported/", limit=PAGE)
        if datetime.fromisoformat(at) < now - KNOWN
    ]
    at = now.astimezone(UTC).isoformat()
    return [*old, state.delete(f"report/{event_id}"), state.put(f"reported/{event_id}", at)]


def _said(
    state: SinkState,
    event_id: str,
    words: str,
    now: datetime,
    *,
    meter_id: str | None = None,
    ends: str = "person",
) -> StateWrite:
    return trouble(state, event_id, Trouble(words, now, meter_id, ends))


def _keep(state: SinkState, event_id: str, kept: Kept) -> StateWrite:
    return state.put(f"report/{event_id}", msgspec.json.encode(kept).decode())
