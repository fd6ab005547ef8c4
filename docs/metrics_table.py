"""The tables in docs/monitoring.md, made of the catalogue of metrics itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from meter.server.catalogue import CATALOGUE, PROCESS

if TYPE_CHECKING:
    from meter.server.catalogue import Metric

_TOPICS = (
    ("Collectors", ("meter_collector_", "meter_receipts_", "meter_quarantine_", "meter_backfill_")),
    ("Streaming", ("meter_sessions_", "meter_relay_")),
    ("Sinks", ("meter_sink_",)),
    ("The journal", ("meter_journal_",)),
    ("The process", ("meter_build_", "meter_draining", "meter_http_", "process_")),
)


def all_metrics() -> str:
    """Return a table of the metrics for each topic; every metric is in one of them."""
    left = [*CATALOGUE, *PROCESS]
    parts = []
    for title, prefixes in _TOPICS:
        some = [metric for metric in left if metric.name.startswith(prefixes)]
        left = [metric for metric in left if metric not in some]
        parts.append(f"### {title}\n\n{_table(some)}")
    if left:
        raise ValueError(f"no topic for {left[0].name}")
    return "\n".join(parts)


def _table(metrics: Iterable[Metric]) -> str:
    lines = ["| metric | kind | labels | |", "|---|---|---|---|"]
    for metric in metrics:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        lines.append(f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} |")
    return "\n".join(lines) + "\n"
