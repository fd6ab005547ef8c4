"""Answers that speak of single events."""

from __future__ import annotations

from typing import Any

import pytest

from http_sink.conftest import Opener, batch_of
from http_sink.double import Asked, Destination, Said
from meter.errors import FatalSinkError, RetryableSinkError
from support.facts import completed

ID = "assemblyai:transcript:{}".format


def once(*answers: Said) -> Any:
    """Answer the first requests so, and 204 from then on."""
    left = list(answers)
    return lambda _asked: left.pop(0) if left else Said()


def test_errors_by_index_in_a_refusal_leave_the_rest_to_be_sent_again_at_once(
    sink: Opener, destination: Destination
) -> None:
    destination.answering = once(
        Said.of(422, {"error_details": {"1": {"code": ["missing"]}, "3": {"id": ["known_id"]}}})
    )
    report = sink(results={"path": "error_details"}, duplicate_words="known_id").deliver(
        batch_of([completed(n) for n in range(5)])
    )
    assert report.rejected == {ID(1): 'HTTP 422: {"code":["missing"]}'}
    assert list(report.duplicate) == [ID(3)]
    assert list(report.delivered) == [ID(0), ID(2), ID(4)]
    assert [len(a.json) for a in destination.asked] == [5, 3]


def test_errors_by_id_in_a_2xx_leave_the_rest_delivered(
    sink: Opener, destination: Destination
) -> None:
    destination.answering = once(Said.of(207, {"result": {"errors": {ID(1): "too old"}}}))
    report = sink(results={"path": "result.errors", "key": "id"}).deliver(
        batch_of([completed(n) for n in range(3)])
    )
    assert list(report.delivered) == [ID(0), ID(2)]
    assert report.rejected == {ID(1): "HTTP 207: too old"}
    assert len(destination.asked) == 1


def test_a_list_of_errors_names_events_by_a_field(sink: Opener, destination: Destination) -> None:
    destination.answering = once(
        Said.of(200, {"errors": [{"event": ID(2), "why": "no such meter"}, {"event": ID(0)}]})
    )
    report = sink(results={"path": "errors", "key": "id", "key_field": "event"}).deliver(
        batch_of([completed(n) for n in range(3)])
    )
    assert list(report.delivered) == [ID(1)]
    assert set(report.rejected) == {ID(2), ID(0)}


def test_an_entry_for_each_event_decides_by_its_error(
    sink: Opener, destination: Destination
) -> None:
    destination.answering = once(
        Said.of(200, {"items": [{"error": None}, {"error": "bad"}, {}, {"error": ""}]})
    )
    report = sink(results={"path": "items", "error_field": "error"}).deliver(
        batch_of([completed(n) for n in range(5)])
    )
    assert list(report.delivered) == [ID(0), ID(2), ID(3)]
    assert report.rejected == {ID(1): "HTTP 200: bad"}
    mentioned = {*report.delivered, *report.rejected}
    assert ID(4) not in mentioned, "it has no entry, so it is offered again"


def test_an_entry_for_each_event_decides_by_its_status(
    sink: Opener, destination: Destination
) -> None:
    entries = [{"s": 201}, {"s": 429}, {"s": 400, "error": "bad"}, {"s": 503}, {"s": "?"}]
    destination.answering = once(Said.of(207, {"items": entries}))
    report = sink(results={"path": "items", "status_field": "s", "error_field": "error"}).deliver(
        batch_of([completed(n) for n in range(5)])
    )
    assert list(report.delivered) == [ID(0)]
    assert report.rejected == {ID(2): "HTTP 207: 400 bad"}
    assert not report.duplicate


@pytest.mark.parametrize("entries", [[], [{"s": 429}, {"s": 503}], [{}, {}]])
def test_a_2xx_that_takes_nothing_now_is_tried_again_later(
    sink: Opener, destination: Destination, entries: list[Any]
) -> None:
    destination.answering = lambda _a: Said.of(207, {"items": entries}, **{"retry-after": "9"})
    with pytest.raises(RetryableSinkError, match="HTTP 207 takes none of 2 events now") as raised:
        sink(results={"path": "items", "status_field": "s"}).deliver(
            batch_of([completed(1), completed(2)])
        )
    assert raised.value.retry_after == 9


@pytest.mark.parametrize(
    "body",
    [b"", b"<xml>", b"[]", b'{"items": 5}', b"[" * 100_000, b"\xff"],
)
def test_a_2xx_without_the_entries_that_it_should_have_delivers_nothing(
    sink: Opener, destination: Destination, body: bytes
) -> None:
    destination.answering = lambda _a: Said(200, body)
    with pytest.raises(RetryableSinkError, match="it is not known what became of 2 events"):
        sink(results={"path": "items", "error_field": "error"}).deliver(
            batch_of([completed(1), completed(2)])
        )


def test_a_2xx_that_names_an_event_that_was_not_sent_parks_the_sink(
    sink: Opener, destination: Destination
) -> None:
    destination.answering = lambda _a: Said.of(207, {"errors": {"transcript-1": "too old"}})
    with pytest.raises(FatalSinkError, match="speaks of events that were not sent"):
        sink(results={"path": "errors", "key": "id"}).deliver(batch_of([completed(1)]))


@pytest.mark.parametrize("stray", ["7", "-1", "events", "9" * 5000, "١"])
def test_a_refusal_that_names_no_event_of_the_request_is_about_the_whole_of_it(
    sink: Opener, destination: Destination, stray: str
) -> None:
    def answer(asked: Asked) -> Said:
        if len(asked.json) > 2:
            return Said.of(422, {"error_details": {stray: ["too_many_events"]}})
        return Said()

    destination.answering = answer
    report = sink(proven=True, results={"path": "error_details"}).deliver(
        batch_of([completed(n) for n in range(4)])
    )
    assert [len(a.json) for a in destination.asked] == [4, 2, 2]
    assert len(report.delivered) == 4


def test_one_event_named_twice_has_one_outcome(sink: Opener, destination: Destination) -> None:
    entries = [{"n": 0, "error": "bad"}, {"n": 0}, {"n": 1}]
    destination.answering = once(Said.of(200, {"items": entries}))
    report = sink(results={"path": "items", "key_field": "n", "error_field": "error"}).deliver(
        batch_of([completed(0), completed(1)])
    )
    assert list(report.delivered) == [ID(1)]
    assert report.rejected == {ID(0): "HTTP 200: bad"}
