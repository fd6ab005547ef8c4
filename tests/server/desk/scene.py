"""A journal of a busy month with every kind of trouble in it, the same one every time."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from msgspec import structs

from meter.config import Config, load_config
from meter.events import AsyncCompleted, Event, StreamTerminated
from meter.journal import Journal, NewAct, NewReceipt, Quarantined, Retry, Settlement
from meter.plugins import Plugins, load_plugins
from support.facts import begun, completed, failed, terminated

SECRET = "the-admin-secret-of-the-desk-tests"
REFUSED = "assemblyai:transcript:6f1f0b52-refused"
HELD = "assemblyai:transcript:0c55e1aa-held"
SESSION = "3d1c9a54-61a8-4f0e-9d7f-open"
CUSTOMERS = (
    ("northwind-health", 30),
    ("Müller & Söhne", 22),
    ("acme", 19),
    ("harbour-legal", 14),
    ("studio-kōbō", 11),
    ("blue-fox-media", 9),
    ("lumen-research", 7),
    ("city-of-aarhus", 6),
    ("weston-podcasts", 4),
    ("ינשוף", 3),
    ("tiny-startup", 2),
    ("internal", 1),
)
"""Whose usage it is, and how much of it."""
HOSTILE = (
    "<script>document.title='harmed'</script>",
    "\u202egnirts desrever\x00\x1b[2J",
    '"><img src=x onerror=alert(1)>',
    "x" * 10_240,
)


def configured(folder: Path, *, secret: str | None = None, host: str = "127.0.0.1") -> Config:
    """Write a pipelines file and read it back."""
    server = f"server: {{host: {host}, port: 0{f', admin_secret: {secret}' if secret else ''}}}"
    path = folder / "pipelines.yaml"
    path.write_text(
        f"""\
journal: meter.db
{server}
collectors:
  transcripts: {{type: webhook, api_key: k, secret: s, path: /webhooks/assemblyai}}
  live:
    type: streaming
    api_key: k
    token_secret: at-least-32-characters-of-a-secret
  apps: {{type: ingest, secret: i}}
sinks:
  ledger: {{type: sqlite, path: usage.db}}
  export: {{type: csv, path: "exports/usage-{{month}}.csv"}}
  billing: {{type: parquet, path: lake}}
  warehouse: {{type: http, url: "https://events.example.com/usage"}}
pipelines:
  usage: {{from: [transcripts, live, apps], to: [ledger, export, billing, warehouse]}}
rates:
  currency: USD
  cost:
    async_completed: {{models: {{universal: "0.15", slam-1: "0.27"}}}}
    stream_terminated: {{models: {{universal-streaming: "0.15"}}}}
  price:
    async_completed: {{models: {{universal: "0.40", slam-1: "0.55"}}}}
    stream_terminated: {{models: {{universal-streaming: "0.60"}}}}
"""
    )
    return load_config(path, _plugins(), environ={})


@cache
def _plugins() -> Plugins:
    return load_plugins()


def a_month(now: datetime) -> Iterator[Event]:
    """Yield thirty days of usage, ending now: less on weekends, more each week."""
    chance = random.Random(11)
    names, weights = zip(*CUSTOMERS, strict=True)
    number = 0
    for back in range(29, -1, -1):
        day = (now - timedelta(days=back)).replace(hour=0)
        weight = (0.35 if day.weekday() > 4 else 1.0) * (0.7 + 0.3 * (30 - back) / 30)
        until = now.hour if back == 0 else 24
        for _ in range(int(34 * weight * until / 24)):
            number += 1
            at = day + timedelta(seconds=chance.randrange(until * 3600))
            common: dict[str, Any] = {
                "customer_id": chance.choices(names, weights)[0],
                "occurred_at": at,
                "recorded_at": at,
                "dimensions": {"project_id": f"p-{chance.randrange(40)}"},
            }
            if chance.random() < 0.3:
                yield terminated(
                    f"{number:08x}-live",
                    collector="live",
                    seconds=Decimal(chance.randrange(20, 2400)),
                    model="universal-streaming",
                    **common,
                )
            else:
                yield completed(
                    f"{number:08x}-{chance.randrange(16**4):04x}",
                    seconds=Decimal(chance.randrange(100, 54000)) / 10,
                    model=chance.choice(("universal", "universal", "slam-1")),
                    **common,
                )
    yield failed(
        "00ff-failed", error="the audio cannot be decoded", occurred_at=now, recorded_at=now
    )


def fill(journal: Journal, now: datetime) -> None:
    """Make the journal: usage, deliveries, and every kind of trouble."""
    recent = {"occurred_at": now - timedelta(hours=3), "recorded_at": now - timedelta(hours=3)}
    held = completed("0c55e1aa-held", model="slam-1", customer_id="tiny-startup", **recent)
    facts = sorted([*a_month(now), held], key=lambda event: event.recorded_at)
    journal.append(facts).wait()
    _by_webhook(
        journal,
        completed(
            "6f1f0b52-refused",
            model="universal",
            language="en_us",
            seconds=Decimal("1274.5"),
            customer_id="harbour-legal",
            dimensions={"project_id": "p-7", "order_id": "A-1204"},
            **recent,
        ),
        now,
    )
    first = facts[0]
    assert isinstance(first, AsyncCompleted)
    journal.append([structs.replace(first, seconds=Decimal(90))]).wait()
    stored = journal.read(0, 10_000)
    offsets = {entry.event.event_id: entry.offset for entry in stored}
    unbilled = [
        entry.offset
        for entry in stored
        if not isinstance(entry.event, AsyncCompleted | StreamTerminated)
    ]
    billed = [entry.offset for entry in stored if entry.offset not in unbilled]
    _deliver(journal, now, billed, unbilled, offsets)
    _set_aside(journal, now)
    for number, (customer, minutes) in enumerate((("acme", 3), ("studio-kōbō", 41))):
        journal.sessions.open(
            begun(
                SESSION if not number else "77aa01b3-77e0-4b59-8c11-open",
                collector="live",
                customer_id=customer,
                model="universal-streaming",
                started_at=now - timedelta(minutes=minutes),
                expires_at=now - timedelta(minutes=minutes) + timedelta(hours=3),
                dimensions={"room": "4b"},
            )
        ).wait()
        journal.sessions.lengthen([(SESSION, Decimal(150))]).wait()
    journal.set_trouble("transcripts", "AssemblyAI refused the API key (401)").wait()


def _by_webhook(journal: Journal, event: AsyncCompleted, now: datetime) -> None:
    """Record an event as a webhook brings it, once the provider could be asked at last."""
    journal.add_receipt(
        NewReceipt(
            "transcripts",
            event.recorded_at - timedelta(minutes=2),
            "customer_id=harbour-legal&project_id=p-7&order_id=A-1204",
            json.dumps({"transcript_id": event.provider_id, "status": "completed"}),
        )
    ).wait()
    (receipt,) = journal.due_receipts("transcripts", now, skip=(), limit=1)
    why = "api.assemblyai.com answered 503"
    journal.retry_receipt(receipt.id, why, now).wait()
    journal.retry_receipt(receipt.id, why, now).wait()
    journal.settle_receipt(receipt.id, "", event=event).wait()


def _deliver(
    journal: Journal, now: datetime, billed: list[int], unbilled: list[int], at: dict[str, int]
) -> None:
    before = now - timedelta(hours=3)
    last = max(billed[-1], unbilled[-1])
    for name, kind in (("ledger", "sqlite"), ("export", "csv")):
        journal.register_sink(name, kind, skip_existing=False, not_before=None).wait()
        journal.settle(
            Settlement(name, "new", last, before, delivered=billed, filtered=unbilled)
        ).wait()
    journal.register_sink("billing", "parquet", skip_existing=False, not_before=None).wait()
    stuck = {at[REFUSED], at[HELD]}
    late = [offset for offset in billed if offset not in stuck]
    retry = {late[-1]: Retry("the file is in use", now + timedelta(seconds=40))}
    journal.settle(
        Settlement(
            "billing",
            "new",
            last,
            before,
            delivered=late[:-1],
            filtered=unbilled,
            rejected={at[REFUSED]: "no such column: order_id"},
            held={at[HELD]: "no customer mapping for tiny-startup"},
            retrying=retry,
        )
    ).wait()
    act = NewAct("dana@ops-laptop", "the column was added")
    journal.exceptions.redrive("billing", [at[REFUSED]], now - timedelta(minutes=31), act).wait()
    again = now - timedelta(minutes=31)
    why = {at[REFUSED]: "no such column: order_id"}
    journal.settle(Settlement("billing", "retry", None, again, rejected=why)).wait()
    journal.set_sink_trouble("billing", "OSError: no space left on device").wait()
    journal.register_sink("warehouse", "http", skip_existing=False, not_before=None).wait()
    behind = len(billed) - 60
    journal.settle(
        Settlement("warehouse", "new", billed[behind], before, delivered=billed[: behind + 1])
    ).wait()
    journal.park_sink("warehouse", "401 from events.example.com: the token is refused").wait()


def _set_aside(journal: Journal, now: datetime) -> None:
    job = {"status": "completed", "audio_duration": 61.5, "speech_model_used": "universal"}
    kept = {"query": "", "transcript": job, "received_at": (now - timedelta(days=1)).isoformat()}
    journal.quarantine(
        [
            Quarantined(
                "transcripts",
                "transcript:a94e-unnamed",
                "the webhook names no customer",
                json.dumps(kept),
                provider_id="a94e-unnamed",
            ),
            Quarantined(
                "transcripts",
                "transcript:b02c-unfetched",
                "404 at each of 8 attempts: the key may be of another project",
                json.dumps(
                    {
                        "query": "customer_id=acme",
                        "received_at": now.isoformat(),
                        "transcript_id": "b02c-unfetched",
                        "status": "completed",
                    }
                ),
                provider_id="b02c-unfetched",
                fetched=False,
            ),
        ]
    ).wait()
    (dropped,) = journal.aside.entries(why="conflict", limit=1)
    act = NewAct("dana@ops-laptop", "the first figure is the invoice's")
    journal.aside.discard(dropped.id, now - timedelta(minutes=25), act).wait()
    journal.add_receipt(
        NewReceipt(
            "transcripts",
            now - timedelta(minutes=18),
            "customer_id=acme",
            '{"transcript_id":"c3-waits","status":"completed"}',
        )
    ).wait()


def fill_hostile(journal: Journal) -> None:
    """Record usage of customers whose names are meant to harm."""
    journal.append(
        [
            completed(f"h{number}", customer_id=name, dimensions={"note": name})
            for number, name in enumerate(HOSTILE)
        ]
    ).wait()
    journal.quarantine(
        [
            Quarantined("transcripts", f"transcript:q{number}", name, json.dumps({"query": name}))
            for number, name in enumerate(HOSTILE)
        ]
    ).wait()


def opened(folder: Path, clock: Any) -> Any:
    """Open the scene's journal, to be closed by `with`."""
    from meter.journal import open_journal

    return closing(open_journal(str(folder / "meter.db"), clock))
