from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from http_sink.double import Destination, Said
from meter.sinks import Batch, SinkContext, SinkState
from meter_http.sink import HttpSink
from support.clocks import FakeClock
from support.facts import completed

Opener = Callable[..., HttpSink]

HEADERS = {"Authorization": "Bearer s3cret-of-the-destination"}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(scope="session")
def _served() -> Iterator[Destination]:
    with Destination().serving() as served:
        yield served


@pytest.fixture
def destination(_served: Destination) -> Destination:
    """One on the session's socket, as new: it takes everything, and was asked nothing."""
    _served.answering = lambda _asked: Said()
    _served.asked.clear()
    _served.others.clear()
    return _served


@pytest.fixture
def sink(clock: FakeClock, destination: Destination) -> Iterator[Opener]:
    """Opens sinks that send to the destination; `sink(mode="binary")`."""
    made: list[HttpSink] = []

    def open_one(
        *, proven: bool = False, stopping: Callable[[], bool] = lambda: False, **options: Any
    ) -> HttpSink:
        """Open one; `proven`: the destination took an event of it already."""
        context = SinkContext(
            name="out",
            journal_id="a-journal",
            state=cast("SinkState", None),  # this sink keeps none
            clock=clock,
            log=logging.LoggerAdapter(logging.getLogger("test"), {}),
            stopping=stopping,
        )
        given = {"url": f"{destination.url}/events", **options}
        made.append(HttpSink(HttpSink.Options.model_validate(given), context))
        made[-1].open()
        if proven:
            answering, destination.answering = destination.answering, lambda _asked: Said()
            made[-1].deliver(batch_of([completed("first")]))
            destination.answering = answering
            destination.asked.clear()
        return made[-1]

    yield open_one
    for one in made:
        one.close()


def batch_of(events: list[Any], **changes: Any) -> Batch:
    offsets = list(range(1, len(events) + 1))
    return Batch(events, offsets, offsets[-1], **changes)
