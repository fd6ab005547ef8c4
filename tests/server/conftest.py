"""Real runs of meter to be looked at: one where all is well, one where nothing is."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from acceptance.packages import unpacked
from acceptance.process import Meter, pipelines, wait_until
from meter.sandbox.double import AssemblyAISandbox
from server.exposition import Scrape, scrape
from server.rules import firing

INGEST = "an-ingest-secret"
STREAMING = {
    "type": "streaming",
    "api_key": "key",
    "token_secret": "a-secret-of-more-than-32-characters",
    "upstream": "ws://127.0.0.1:9",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


def fact(number: int | str, **changes: Any) -> dict[str, Any]:
    return {
        "kind": "async_completed",
        "provider_id": f"job-{number}",
        "customer_id": "Acme & Söhne",
        "seconds": 61.5,
        "occurred_at": "2026-11-01T00:00:00Z",
        **changes,
    }


def post_events(meter: Meter, *facts: Any, secret: str = INGEST) -> httpx.Response:
    return httpx.post(
        f"{meter.url}/v1/events",
        content=json.dumps(facts),
        headers={"authorization": f"Bearer {secret}"},
        trust_env=False,
        timeout=30,
    )


def execute(meter: Meter, sql: str, *parameters: Any) -> None:
    """Change the journal behind meter's back."""
    with closing(sqlite3.connect(meter.folder / "meter.db", timeout=20)) as connection:
        connection.execute(sql, parameters)
        connection.commit()


def _configured(base_url: str, every: str) -> dict[str, Any]:
    config = pipelines(base_url, every=every)
    config["collectors"] |= {"live": STREAMING, "apps": {"type": "ingest", "secret": INGEST}}
    return config


@pytest.fixture(scope="module")
def well(folder: Path) -> Iterator[Meter]:
    """All collectors and two sinks, everything settled."""
    with AssemblyAISandbox(latency=0) as double:
        config = _configured(double.base_url, "15m")
        config["pipelines"]["usage"]["from"] = list(config["collectors"])
        meter = Meter(folder / "well").configure(config)
        meter.start()
        try:
            post_events(meter, fact(1), fact(2))
            wait_until(lambda: scrape(meter).total("meter_sink_events", state="delivered") == 4)
            wait_until(lambda: meter.logs("backfill.walked"))
            yield meter
        finally:
            meter.kill()


class Troubled:
    """A meter in every trouble that there is an alert for, seen twice."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self.before = scrape(meter)
        self.after = self.before

    def fires(self, expression: str, labels: dict[str, str]) -> bool:
        return labels in firing(expression, self.before, self.look())

    def look(self) -> Scrape:
        self.after = scrape(self.meter)
        return self.after


@pytest.fixture(scope="module")
def troubled(folder: Path) -> Iterator[Troubled]:
    """Nobody answers at AssemblyAI's address; three of four sinks are a stranger's, in moods."""
    meter = Meter(folder / "troubled", packages=unpacked(folder / "packages"))
    config = _configured("http://127.0.0.1:9", "1s")
    for mood in ("refuses job-old", "fatal", "busy"):
        name = mood.split()[0]
        (meter.folder / f"{name}.mood").write_text(mood)
        config["sinks"][name] = {"type": "stranger", "path": name, "mood": f"{name}.mood"}
    config["collectors"]["import"] = {"type": "jsonl", "path": "old.jsonl"}
    config["pipelines"]["usage"] = {"from": list(config["collectors"]), "to": list(config["sinks"])}
    long_ago = (datetime.now(UTC) - timedelta(hours=2)).isoformat()
    old = fact("old", collector="import", recorded_at=long_ago)
    (meter.folder / "old.jsonl").write_text(json.dumps(old) + "\n")
    meter.configure(config).start()
    try:
        wait_until(lambda: scrape(meter).total("meter_sink_events", state="dead"))
        wait_until(lambda: scrape(meter).total("meter_sink_parked"))
        yield Troubled(meter)
    finally:
        meter.kill()
