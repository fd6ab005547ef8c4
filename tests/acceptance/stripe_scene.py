"""A site of the sink `stripe` while things go wrong: usage, time that passed, others at Stripe."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import yaml

from meter.clock import SystemClock
from meter.events import encode_event
from meter.journal import open_journal
from meter.sandbox.stripe_sandbox import StripeSandbox
from meter_stripe.intents import Intent
from meter_stripe.ledger import Ledger, meter_ids
from support.facts import terminated
from support.stripe_site import METER, Site

POSTS = "/v1/billing/meter_events"
ADJUSTMENTS = "/v1/billing/meter_event_adjustments"
SECRET = "s3cret-of-the-apps"
AGO = timedelta(minutes=90)
"""How old usage is: of an hour that is over, so that no meter event waits for its minute."""
TIMES = ("frozen_at", "in_flight_at", "doubtful_since", "arrived_at", "next_at")


def map_customers(place: Site, **pairs: str) -> None:
    """Write the customers file as the docs say: another one, and rename it."""
    new = place.meter.folder / "customers.new"
    new.write_text("".join(f"{name}: {stripe_id}\n" for name, stripe_id in pairs.items()))
    new.replace(place.meter.folder / "customers.yaml")


# -- usage ---------------------------------------------------------------------------------------


def listening(place: Site, *, collectors: dict[str, Any] | None = None, **options: Any) -> None:
    """Take usage over HTTP, so that some can come while `meter run` goes on."""
    place.configure(**options)
    config = yaml.safe_load(place.meter.file.read_text())
    config["collectors"] = {"apps": {"type": "ingest", "secret": SECRET}, **(collectors or {})}
    config["pipelines"]["usage"]["from"] = list(config["collectors"])
    place.meter.configure(config)


def post(place: Site, provider_id: str, seconds: int, *, customer: str, **more: Any) -> str:
    """Post usage as an application does; return its event id."""
    fact = {
        "kind": "async_completed",
        "provider_id": provider_id,
        "customer_id": customer,
        "occurred_at": (datetime.now(UTC) - AGO).isoformat(),
        "seconds": seconds,
        **more,
    }
    headers = {"authorization": f"Bearer {SECRET}"}
    url = f"{place.meter.url}/v1/events"
    (result,) = httpx.post(url, json=fact, headers=headers, trust_env=False).json()["results"]
    assert result["status"] == "recorded", result
    return str(result["event_id"])


def add_stream(place: Site, customer: str, seconds: int) -> None:
    """Add a streaming session to the file that is collected."""
    event = terminated(
        "session-1",
        customer_id=customer,
        collector="import",
        seconds=Decimal(seconds),
        occurred_at=datetime.now(UTC) - AGO,
        recorded_at=datetime.now(UTC),
    )
    with (place.meter.folder / "events.jsonl").open("ab") as file:
        file.write(encode_event(event) + b"\n")


# -- time, and Stripe ----------------------------------------------------------------------------


def add_meter(stripe: StripeSandbox, event_name: str = METER) -> str:
    """Make a meter that adds up; return its id."""
    params = {"display_name": event_name, "event_name": event_name}
    aggregation = {"default_aggregation": {"formula": "sum"}}
    return str(stripe.books.add("/v1/billing/meters", {**params, **aggregation})["id"])


def aged(place: Site, *, hours: int) -> dict[str, Intent]:
    """Make every intent so much older, but for its minute; return them by Stripe customer.

    Nothing may run meanwhile.
    """
    span = timedelta(hours=hours)
    journal = open_journal(str(place.meter.folder / "meter.db"), SystemClock())
    try:
        state = journal.sink_state("billing", "stripe")
        ledger = Ledger(state, meter_ids(state)[METER])
        found: dict[str, Intent] = {}
        for intent in ledger.page("", 100):
            known = {name: getattr(intent, name) for name in TIMES}
            times = {name: at - span for name, at in known.items() if at is not None}
            found[intent.customer] = intent.changed(**times, history=())
            state.commit(ledger.put(found[intent.customer]))
        return found
    finally:
        journal.close()


def sent_by_others(place: Site, identifier: str, intent: Intent, value: int) -> None:
    """Have another program send a meter event into an intent's minute."""
    payload = {"stripe_customer_id": intent.customer, "value": str(value)}
    fields = {"event_name": METER, "payload": payload, "timestamp": intent.minute}
    place.double.books.add(POSTS, {**fields, "identifier": identifier})


def no_longer_counted(place: Site, identifier: str) -> None:
    """Have Stripe not count a meter event that it has."""
    cancel = {"event_name": METER, "type": "cancel", "cancel": {"identifier": identifier}}
    place.double.books.add(ADJUSTMENTS, cancel)


# -- what can be seen ----------------------------------------------------------------------------


def shown(place: Site, *command: str) -> str:
    """Return what a command prints."""
    done = place.meter.command(*command)
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows(place: Site, sql: str) -> list[Any]:
    """Read the journal without meter."""
    path = place.meter.folder / "meter.db"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as journal:
        return journal.execute(sql).fetchall()


def states(place: Site) -> list[str]:
    """Return how what is not simply delivered stands."""
    return [state for (state,) in rows(place, "SELECT state FROM exceptions")]


def problems(place: Site) -> int:
    """Count the meter events that the ledger holds for a person to see."""
    return len(rows(place, "SELECT key FROM sink_state WHERE key LIKE 'p/meter-%'"))


def tried(place: Site) -> set[str]:
    """Return the customers that meter events were sent for, whether or not they arrived."""
    sent = (request for request in place.double.books.requests if request.path == POSTS)
    return {request.params["payload"]["stripe_customer_id"] for request in sent}


def journal_seconds(place: Site) -> Decimal:
    """Add up the journal."""
    found = rows(place, "SELECT seconds FROM usage_events")
    return sum((Decimal(str(seconds)) for (seconds,) in found), Decimal(0))


def assert_books_agree(place: Site) -> str:
    """Compare Stripe's books with the journal, by ourselves and by `meter stripe verify`."""
    assert sum(place.double.truth().totals.values()) == journal_seconds(place)
    agreed = place.stripe("verify")
    assert "everything agrees" in agreed
    return agreed
