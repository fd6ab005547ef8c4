"""Every metric of `GET /metrics`: its name, kind, labels and meaning; the docs are made of this.

Names follow what Vector and OpenTelemetry made usual: who speaks, what is counted, the unit,
`_total` for counters. No label names a customer, a transcript or a session.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["CATALOGUE", "PROCESS", "REFUSED_FOR", "Metric"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Attributes:
        name: as PromQL writes it; of a histogram without `_bucket`, `_sum` and `_count`.
        kind: a counter starts at 0 with the process unless its help says otherwise.
        labels: in order.
        help: one sentence, with the unit where the name has none.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str


_COLLECTOR: Final = ("collector",)
_EVENT: Final = ("collector", "kind")
_SINK: Final = ("sink",)

BUILD: Final = Metric(
    "meter_build_info", "gauge", ("version", "python"), "Always 1; which meter runs, on what."
)
DRAINING: Final = Metric(
    "meter_draining", "gauge", (), "1 while meter is about to end and takes nothing new."
)

HTTP_ANSWERS: Final = Metric(
    "meter_http_requests_total",
    "counter",
    ("path", "status"),
    "Requests answered; paths that nobody has are `other`.",
)
HTTP_RUNNING: Final = Metric(
    "meter_http_requests_in_flight", "gauge", (), "Requests that are being answered."
)

RECEIVED: Final = Metric(
    "meter_collector_received_events_total",
    "counter",
    _COLLECTOR,
    "Events that came in, by whatever way: the sum of recorded, duplicate and conflicting ones.",
)
RECORDED: Final = Metric(
    "meter_collector_recorded_events_total",
    "counter",
    _EVENT,
    "Events that the journal recorded as new.",
)
DUPLICATES: Final = Metric(
    "meter_collector_duplicate_events_total",
    "counter",
    _EVENT,
    "Events that were recorded before: nothing written, and no fault.",
)
CONFLICTS: Final = Metric(
    "meter_collector_conflicting_events_total",
    "counter",
    _COLLECTOR,
    "Events recorded before with another customer or quantity; kept in the journal, so it goes on "
    "after a restart.",
)
REFUSED: Final = Metric(
    "meter_collector_refused_total",
    "counter",
    ("collector", "reason"),
    "Requests, items and sessions that were not taken.",
)
QUARANTINED: Final = Metric(
    "meter_collector_quarantined_total",
    "counter",
    _COLLECTOR,
    "Things that came into quarantine, conflicts too; kept in the journal, so it goes on after a "
    "restart.",
)
TROUBLE: Final = Metric(
    "meter_collector_trouble", "gauge", _COLLECTOR, "1 while a collector cannot do its work."
)
RECEIPTS: Final = Metric(
    "meter_receipts_open", "gauge", _COLLECTOR, "Webhooks that are stored and not understood yet."
)
RECEIPT_AGE: Final = Metric(
    "meter_receipts_age_seconds", "gauge", _COLLECTOR, "The age of the oldest of those; 0 of none."
)
QUARANTINE: Final = Metric(
    "meter_quarantine_open", "gauge", _COLLECTOR, "Things that wait in quarantine for a person."
)
BACKFILL_AGE: Final = Metric(
    "meter_backfill_age_seconds",
    "gauge",
    _COLLECTOR,
    "Time since the last complete walk of the transcript list began; before the first, since the "
    "process started.",
)
BACKFILL_EVERY: Final = Metric(
    "meter_backfill_interval_seconds", "gauge", _COLLECTOR, "How often it is to be walked."
)
SESSIONS: Final = Metric(
    "meter_sessions_open",
    "gauge",
    _COLLECTOR,
    "Streaming sessions whose Termination is not known yet.",
)
RELAYED: Final = Metric(
    "meter_relay_sessions_total", "counter", _COLLECTOR, "Sessions that were asked of AssemblyAI."
)
RELAYING: Final = Metric(
    "meter_relay_clients", "gauge", _COLLECTOR, "Applications that are connected now."
)

DELIVERED: Final = Metric(
    "meter_sink_delivered_events_total", "counter", _SINK, "Events that it took, or had already."
)
FILTERED: Final = Metric(
    "meter_sink_filtered_events_total", "counter", _SINK, "Events that no pipeline gives it."
)
HELD: Final = Metric(
    "meter_sink_held_events_total", "counter", _SINK, "How often it could not place an event yet."
)
RETRIED: Final = Metric(
    "meter_sink_retried_events_total",
    "counter",
    _SINK,
    "How often an event failed, or was not mentioned, and is offered again.",
)
PUT_OFF: Final = Metric(
    "meter_sink_put_off_events_total",
    "counter",
    _SINK,
    "How often it asked for an event at a later time, which is no fault.",
)
REJECTED: Final = Metric(
    "meter_sink_rejected_events_total", "counter", _SINK, "Events that became dead letters."
)
FAILURES: Final = Metric(
    "meter_sink_failures_total",
    "counter",
    _SINK,
    "How often it failed as a whole; it is tried again, and nothing is lost.",
)
BATCHES: Final = Metric(
    "meter_sink_batch_duration_seconds",
    "histogram",
    _SINK,
    "How long it took over each batch, also when it failed; `_count` is the number of batches.",
)
PLACES: Final = Metric(
    "meter_sink_events",
    "gauge",
    ("sink", "state"),
    "Where every recorded event stands: `pending`, `delivered`, `filtered`, `held`, `retrying`, "
    "`dead` (dead letters), or `discarded` (those that a person gave up).",
)
QUEUE_AGE: Final = Metric(
    "meter_sink_queue_age_seconds",
    "gauge",
    _SINK,
    "How long ago the oldest event was recorded that is pending, held or retrying; 0 when all is "
    "settled.",
)
PARKED: Final = Metric(
    "meter_sink_parked", "gauge", _SINK, "1 while it is stopped until a person acts."
)
SINK_TROUBLE: Final = Metric(
    "meter_sink_trouble", "gauge", _SINK, "1 while it fails or hangs, and is tried again."
)
UNBALANCED: Final = Metric(
    "meter_sink_unbalanced_events",
    "gauge",
    _SINK,
    "Recorded events less those that have a place; anything but 0 is a fault. Left out while a "
    "long queue is still being counted.",
)

EVENTS: Final = Metric(
    "meter_journal_events_total",
    "counter",
    ("kind",),
    "Events in the journal, whoever recorded them; it goes on after a restart.",
)
WRITABLE: Final = Metric(
    "meter_journal_writable", "gauge", (), "1 when a write was committed just now, as `/readyz`."
)
READABLE: Final = Metric(
    "meter_journal_readable",
    "gauge",
    (),
    "1 when the journal was read for this scrape; with 0, what is read from it is left out.",
)
COMMITS: Final = Metric(
    "meter_journal_commit_duration_seconds",
    "histogram",
    (),
    "How long each commit took; `_count` is the number of commits.",
)
GROUPS: Final = Metric(
    "meter_journal_commit_writes", "histogram", (), "How many writes shared each commit."
)
COMMITS_FAILED: Final = Metric(
    "meter_journal_commits_failed_total", "counter", (), "Commits that could not be stored."
)
FILE: Final = Metric(
    "meter_journal_file_bytes",
    "gauge",
    ("file",),
    "The size of the journal's `database`, and of the `log` that is folded into it now and then.",
)

CATALOGUE: Final = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
"""All of them, in the order of the page."""

PROCESS: Final = (
    Metric("process_start_time_seconds", "gauge", (), "When the process started, Unix time."),
    Metric("process_cpu_seconds_total", "counter", (), "CPU time used, user and system."),
    Metric("process_resident_memory_bytes", "gauge", (), "Memory in use."),
    Metric("process_virtual_memory_bytes", "gauge", (), "Address space in use."),
    Metric("process_open_fds", "gauge", (), "File descriptors in use."),
    Metric("process_max_fds", "gauge", (), "How many there may be."),
)
"""What the library says of the process, on Linux."""

REFUSED_FOR: Final = {
    400: "malformed",
    401: "unauthorized",
    405: "method",
    413: "too_large",
    503: "unavailable",
}
"""Why a request to a collector's path was refused, by the status of the answer."""
