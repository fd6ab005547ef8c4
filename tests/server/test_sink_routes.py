"""HTTP routes of sinks: mounted beside the collectors', and no harm when one cannot say."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from delivery.conftest import sink_class, takes_all
from meter.clock import SystemClock
from meter.config import ServerOptions
from meter.journal import open_journal
from meter.server.running import Run
from meter.sinks import Request, Response, Route, Sink
from support.plugging import config_of, plugins_with, sink_config

if TYPE_CHECKING:
    import pytest


def listening(sink: Sink) -> list[Route]:
    async def hear(request: Request) -> Response:
        body = (await request.body()).decode()
        await asyncio.to_thread(sink.context.state.commit, [sink.context.state.put("heard", body)])
        return Response(200, b"{}")

    return [Route("POST", "/webhooks/mine", hear)]


def broken(_sink: Sink) -> list[Route]:
    raise RuntimeError("no routes today")


def test_a_sinks_route_is_served_and_one_that_fails_to_say_harms_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sinks = {
        "good": sink_config(sink_class(takes_all, routes=listening), "good"),
        "bad": sink_config(sink_class(takes_all, routes=broken), "bad"),
    }
    config = dataclasses.replace(config_of(tmp_path, sinks), server=ServerOptions(port=0))
    journal = open_journal(str(tmp_path / "m.db"), SystemClock())
    run = Run(config, journal=journal, plugins=plugins_with(), clock=SystemClock())

    async def scene() -> int:
        done = asyncio.Event()
        opened = asyncio.get_running_loop().create_future()
        running = asyncio.create_task(run.forever(announce=opened.set_result, until=done))
        address = await asyncio.wait_for(opened, 30)
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.post(f"{address}/webhooks/mine", content=b"hello")
        done.set()
        await running
        return answer.status_code

    try:
        assert asyncio.run(scene()) == 200
        assert journal.sink_state("good", "recording").get("heard") == "hello"
    finally:
        journal.close()
    (record,) = [r for r in caplog.records if r.message == "sink.no_routes"]
    assert record.__dict__["sink"] == "bad"
    assert "meter-test" in record.__dict__["plugin"]
