"""The real `meter` command in a folder, and Stripe's double over HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from acceptance.process import Meter
from meter.events import encode_event
from meter.sandbox.stripe_sandbox import StripeSandbox
from support.facts import completed

KEY = "sk_test_Whole51Secret0Key"
METER = "transcription_seconds"


@dataclass
class Site:
    """One pipelines file with the sink `billing`, fed from a file."""

    meter: Meter
    double: StripeSandbox
    customer: str

    def configure(self, **options: Any) -> None:
        sink: Mapping[str, Any] = {
            "type": "stripe",
            "start": "beginning",
            "api_key": KEY,
            "base_url": self.double.base_url,
            "customers": "passthrough",
            "meters": [{"event_name": METER}],
            "period_day": "none",
            **options,
        }
        self.meter.configure(
            {
                "journal": "meter.db",
                "server": {"port": 0},
                "collectors": {"import": {"type": "jsonl", "path": "events.jsonl"}},
                "sinks": {"billing": sink},
                "pipelines": {"usage": {"from": "import", "to": "billing"}},
            }
        )

    def use(self, *seconds: str, customer: str | None = None, minutes_ago: float = 90) -> list[str]:
        """Write usage into the file that is collected; return the event ids."""
        now = datetime.now(UTC)
        file = self.meter.folder / "events.jsonl"
        before = file.read_bytes() if file.exists() else b""
        number = before.count(b"\n")
        events = [
            completed(
                f"job-{number + place}",
                customer_id=customer or self.customer,
                collector="import",
                seconds=Decimal(each),
                occurred_at=now - timedelta(minutes=minutes_ago),
                recorded_at=now,
            )
            for place, each in enumerate(seconds)
        ]
        file.write_bytes(before + b"".join(encode_event(event) + b"\n" for event in events))
        return [event.event_id for event in events]

    def stripe(self, *arguments: str, code: int = 0) -> str:
        """Run `meter stripe …` to its end; return what it printed, errors too.

        What asks on a terminal is told --yes, unless it is to be refused as a usage error.
        """
        asks = arguments[0] in ("cancel", "resolve", "carry-forward") and code != 2
        yes = ("--yes",) if asks and "--yes" not in arguments else ()
        done = self.meter.command("stripe", *arguments, *yes)
        printed = done.stdout + done.stderr
        assert done.returncode == code, printed
        assert KEY not in printed
        assert "Traceback" not in printed
        return printed

    def billed(self) -> Decimal:
        return self.double.truth().totals.get((self.customer, METER), Decimal(0))


@contextmanager
def site(folder: Path, **double: Any) -> Iterator[Site]:
    with StripeSandbox(**double) as stripe:
        customer = str(stripe.books.add("/v1/customers", {"name": "Acme"})["id"])
        made = Site(Meter(folder / "site"), stripe, customer)
        made.configure()
        try:
            yield made
        finally:
            made.meter.kill()
