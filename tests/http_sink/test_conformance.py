"""The sink `http` and the conformance kit, against a destination that lives in this process.

It survives the kill of meter's process, and is read back over HTTP, with no code of the sink's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest

from http_sink.double import Asked, Destination, Said
from meter.testing import DestinationFault, Row, SinkConformance

TOKEN = "t0ken-of-the-ledger"


class Ledger(Destination):
    """Keeps each CloudEvent once by source and id, and shows them all at `GET /`."""

    def __init__(self) -> None:
        super().__init__(self.answer)
        self.events: dict[tuple[str, str], dict[str, Any]] = {}
        self._fault: DestinationFault | None = None

    def fail_next(self, fault: DestinationFault) -> bool:
        self._fault = fault
        return True

    def heal(self) -> None:
        self._fault = None

    def answer(self, asked: Asked) -> Said:
        if asked.headers.get("authorization") != f"Bearer {TOKEN}":
            return Said(401)
        if asked.method == "GET":
            return Said(200, json.dumps(list(self.events.values())).encode())
        if asked.headers["content-type"] != "application/cloudevents-batch+json":
            return Said(415)
        fault, self._fault = self._fault, None
        if fault is DestinationFault.BUSY:
            return Said(503, b"busy", {"retry-after": "1"})
        if fault is DestinationFault.REFUSES:
            return Said(422, b"no")
        for event in asked.json:
            self.events.setdefault((event["source"], event["id"]), event)
        return Said(cut=fault is DestinationFault.ANSWER_LOST)


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    with Ledger().serving() as served:
        assert isinstance(served, Ledger)
        yield served


def rows(url: str) -> Iterator[Row]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    for event in httpx.get(url, headers=headers, trust_env=False).json():
        data = event["data"]
        yield Row(
            event_id=event["id"],
            customer_id=event["subject"],
            seconds=Decimal(data["seconds"]) if "seconds" in data else None,
            occurred_at=datetime.fromisoformat(event["time"]),
            kind=event["type"].removeprefix("meter."),
            model=data.get("model"),
            dimensions=data["dimensions"],
        )


class TestHttp(SinkConformance):
    @pytest.fixture
    def sink_config(self, ledger: Ledger) -> dict[str, Any]:
        return {
            "type": "http",
            "url": ledger.url,
            "headers": {"Authorization": f"Bearer {TOKEN}"},
        }

    @pytest.fixture
    def read_back(self, ledger: Ledger) -> Callable[[], Iterable[Row]]:
        return lambda: rows(ledger.url)

    @pytest.fixture
    def faults(self, ledger: Ledger) -> Ledger:
        return ledger
