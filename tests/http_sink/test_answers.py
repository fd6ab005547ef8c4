"""What each answer means for the events that were sent."""

from __future__ import annotations

from collections.abc import Callable
from email.utils import format_datetime

import pytest

from http_sink.conftest import HEADERS, Opener, batch_of
from http_sink.double import Asked, Destination, Said
from meter.errors import FatalSinkError, RetryableSinkError
from meter_http.round import ROW, Refused
from support.clocks import FakeClock
from support.facts import completed, terminated

ID = "assemblyai:transcript:{}".format


def ids(asked: Asked) -> list[str]:
    return [event["id"] for event in asked.json]


def refusing(*poison: str, status: int = 422) -> Callable[[Asked], Said]:
    """Refuses each request with a poisoned event in it, whole."""

    def answer(asked: Asked) -> Said:
        bad = [name for name in ids(asked) if name in poison]
        return Said(status, f"no: {bad[0]}".encode()) if bad else Said(202)

    return answer


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_2xx_delivers_all(sink: Opener, destination: Destination, status: int) -> None:
    destination.answering = lambda _a: Said(status)
    report = sink().deliver(batch_of([completed(n) for n in range(3)]))
    assert list(report.delivered) == [ID(n) for n in range(3)]


@pytest.mark.parametrize("status", [400, 422])
def test_only_the_poisoned_event_is_rejected_with_the_destination_s_own_words(
    sink: Opener, destination: Destination, status: int
) -> None:
    destination.answering = refusing(ID(5), status=status)
    report = sink(proven=True).deliver(batch_of([completed(n) for n in range(16)]))
    assert sorted(report.delivered) == sorted(ID(n) for n in range(16) if n != 5)
    assert report.rejected == {ID(5): f"HTTP {status}: no: {ID(5)}"}
    assert len(destination.asked) == 9, "halved, not sent one by one"


def test_events_go_in_order_also_when_a_batch_is_halved(
    sink: Opener, destination: Destination
) -> None:
    destination.answering = refusing(ID(2), ID(6))
    sink(proven=True).deliver(batch_of([completed(n) for n in range(9)]))
    taken = [name for a in destination.asked if not {ID(2), ID(6)} & {*ids(a)} for name in ids(a)]
    assert taken == [ID(n) for n in range(9) if n not in {2, 6}]


def test_a_destination_that_took_nothing_yet_condemns_no_event(
    sink: Opener, destination: Destination
) -> None:
    destination.answering = lambda _a: Said(400, b"unknown field `seconds`")
    with pytest.raises(Refused, match="HTTP 400: unknown field `seconds`"):
        sink().deliver(batch_of([completed(n) for n in range(100)]))
    assert len(destination.asked) == 1, "who is to blame is for delivery to find out"
    with pytest.raises(Refused):
        sink().deliver(batch_of([completed(1)]))


def test_a_destination_that_stops_taking_anything_condemns_ten_at_the_most(
    sink: Opener, destination: Destination
) -> None:
    opened = sink()
    opened.deliver(batch_of([completed("good")]))
    destination.answering = lambda _a: Said(400, b"new schema")
    rejected: list[str] = []
    failures = 0
    for number in range(20):
        try:
            rejected += opened.deliver(batch_of([completed(number)])).rejected
        except Refused:
            failures += 1
    assert len(rejected) == ROW - 1
    assert failures == 20 - len(rejected)
    destination.answering = lambda _a: Said()
    assert opened.deliver(batch_of([completed(99)])).delivered == [ID(99)]


def test_one_batch_refused_whole_after_a_good_one_rejects_nothing(
    sink: Opener, destination: Destination
) -> None:
    opened = sink()
    opened.deliver(batch_of([completed("good")]))
    destination.answering = lambda _a: Said(400, b"new schema")
    destination.asked.clear()
    with pytest.raises(Refused, match="new schema"):
        opened.deliver(batch_of([completed(n) for n in range(100)]))
    assert len(destination.asked) < 30, "it does not go on for ever"


def test_409_of_one_event_alone_is_a_duplicate(sink: Opener, destination: Destination) -> None:
    destination.answering = lambda a: Said(409) if ID(1) in ids(a) else Said()
    report = sink(proven=True).deliver(batch_of([completed(n) for n in range(4)]))
    assert sorted(report.delivered) == [ID(0), ID(2), ID(3)]
    assert list(report.duplicate) == [ID(1)]


def test_words_of_a_refusal_can_mean_a_duplicate(sink: Opener, destination: Destination) -> None:
    destination.answering = lambda a: (
        Said.of(422, {"error": {"code": "already_there"}}) if ID(1) in ids(a) else Said()
    )
    report = sink(proven=True, duplicate_words="already_there").deliver(
        batch_of([completed(n) for n in range(3)])
    )
    assert list(report.duplicate) == [ID(1)]
    assert not report.rejected


def test_duplicate_statuses_are_an_option(sink: Opener, destination: Destination) -> None:
    destination.answering = lambda a: Said(409, b"conflict") if ID(1) in ids(a) else Said()
    report = sink(proven=True, duplicate_statuses=[]).deliver(
        batch_of([completed(0), completed(1)])
    )
    assert report.rejected == {ID(1): "HTTP 409: conflict"}


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (401, "look at `headers`: the key is missing or wrong"),
        (403, "look at `headers`: the key may not do this"),
        (404, "look at `url`"),
        (405, "look at `url`: it takes no POST"),
        (410, "look at `url`: nothing is wanted there any more"),
        (415, "look at `mode`, `body` and `gzip`"),
        (418, "if that is about single events, add it to `refused_statuses`"),
    ],
)
def test_what_no_event_is_to_blame_for_parks_the_sink_and_names_the_option(
    sink: Opener, destination: Destination, status: int, advice: str
) -> None:
    destination.answering = lambda a: Said(
        status, f"you sent {a.headers['authorization']}".encode()
    )
    with pytest.raises(FatalSinkError) as raised:
        sink(headers=HEADERS).deliver(batch_of([completed(1), completed(2)]))
    said = f"{destination.url}/events: HTTP {status}: you sent ***; {advice}"
    assert str(raised.value) == said
    assert len(destination.asked) == 1


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (Said(207, b"[]"), "HTTP 207 speaks of single events; say where in `results`"),
        (Said(200, b"\n <!DOCTYPE html><title>Welcome"), "HTTP 200 with a web page, no answer of"),
    ],
)
def test_a_2xx_that_cannot_mean_delivered_parks_the_sink(
    sink: Opener, destination: Destination, said: Said, words: str
) -> None:
    destination.answering = lambda _a: said
    with pytest.raises(FatalSinkError) as raised:
        sink().deliver(batch_of([completed(1)]))
    assert words in str(raised.value)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_never_followed(sink: Opener, destination: Destination, status: int) -> None:
    with Destination().serving() as elsewhere:
        destination.answering = lambda _a: Said(
            status, headers={"location": f"{elsewhere.url}/there?token=t0ken"}
        )
        with pytest.raises(FatalSinkError) as raised:
            sink(headers=HEADERS).deliver(batch_of([completed(1)]))
        assert not elsewhere.asked
        assert f"it points to {elsewhere.url}/there; redirects are not followed" in str(
            raised.value
        )
        assert "t0ken" not in str(raised.value)


@pytest.mark.parametrize("status", [408, 421, 425, 429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(sink: Opener, destination: Destination, status: int) -> None:
    destination.answering = lambda _a: Said(status, b"busy", {"retry-after": "17"})
    with pytest.raises(RetryableSinkError, match=f"HTTP {status}: busy") as raised:
        sink().deliver(batch_of([completed(1), completed(2)]))
    assert raised.value.retry_after == 17
    assert len(destination.asked) == 1


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        ("1.5", 1.5),
        ("DATE", 90.0),
        ("-5", None),
        ("soon", None),
        ("9" * 400, 86_400.0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0.0),
        ("Thu, 99 Foo 1994", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_a_day_at_the_most(
    sink: Opener, destination: Destination, value: str, seconds: float | None
) -> None:
    if value == "DATE":
        later = FakeClock()
        later.advance(seconds=90)
        value = format_datetime(later.now(), usegmt=True)
    destination.answering = lambda _a: Said(503, headers={"retry-after": value})
    with pytest.raises(RetryableSinkError) as raised:
        sink().deliver(batch_of([completed(1)]))
    assert raised.value.retry_after == seconds


def test_what_was_taken_before_a_failure_is_reported_and_the_wait_is_kept(
    sink: Opener, destination: Destination, clock: FakeClock
) -> None:
    destination.answering = lambda a: (
        Said() if ids(a) != [ID(2)] else Said(429, headers={"retry-after": "30"})
    )
    opened = sink(max_events=1)
    report = opened.deliver(batch_of([completed(n) for n in range(5)]))
    assert list(report.delivered) == [ID(0), ID(1)]
    assert len(destination.asked) == 3
    with pytest.raises(RetryableSinkError) as raised:
        opened.deliver(batch_of([completed(7)]))
    assert raised.value.retry_after == 30
    assert len(destination.asked) == 3, "nothing was sent while the destination rests"
    clock.advance(seconds=31)
    assert list(opened.deliver(batch_of([completed(7)])).delivered) == [ID(7)]


@pytest.mark.parametrize(
    ("status", "error"), [(401, FatalSinkError), (503, RetryableSinkError), (400, Refused)]
)
def test_an_event_that_is_held_hides_no_failure_of_the_others(
    sink: Opener, destination: Destination, status: int, error: type[Exception]
) -> None:
    destination.answering = lambda _a: Said(status)
    with pytest.raises(error):
        sink(event_type={"async_completed": "t"}).deliver(batch_of([terminated(1), completed(2)]))


def test_a_wrong_key_after_others_were_taken_loses_no_report(
    sink: Opener, destination: Destination
) -> None:
    destination.answering = lambda a: Said() if ids(a) == [ID(0)] else Said(401)
    opened = sink(max_events=1)
    assert list(opened.deliver(batch_of([completed(0), completed(1)])).delivered) == [ID(0)]
    with pytest.raises(FatalSinkError):
        opened.deliver(batch_of([completed(1)]))


def test_413_halves_and_the_next_batch_is_smaller_from_the_start(
    sink: Opener, destination: Destination
) -> None:
    destination.answering = lambda a: Said(413) if len(a.json) > 3 else Said()
    opened = sink(proven=True)
    report = opened.deliver(batch_of([completed(n) for n in range(12)]))
    assert len(report.delivered) == 12
    destination.asked.clear()
    opened.deliver(batch_of([completed(n) for n in range(20, 32)]))
    assert [len(a.json) for a in destination.asked] == [3, 3, 3, 3]


def test_an_event_that_is_too_large_alone_is_rejected(
    sink: Opener, destination: Destination
) -> None:
    destination.answering = lambda a: Said(413, b"large") if ID(1) in ids(a) else Said()
    report = sink(proven=True).deliver(batch_of([completed(0), completed(1)]))
    assert report.rejected == {ID(1): "HTTP 413: large"}


def test_max_bytes_and_max_events_are_kept(sink: Opener, destination: Destination) -> None:
    opened = sink(max_bytes=4000, max_events=7)
    events = [completed(n, dimensions={"note": "ü" * (n * 40 % 900)}) for n in range(60)]
    report = opened.deliver(batch_of([*events, completed("big", dimensions={"n": "x" * 4000})]))
    assert len(report.delivered) == 60
    (reason,) = report.rejected.values()
    assert reason.endswith("bytes alone; `max_bytes` allows fewer")
    sizes = [len(a.body) for a in destination.asked]
    assert max(sizes) <= 4000
    assert max(len(a.json) for a in destination.asked) == 7
    assert [n for a in destination.asked for n in ids(a)] == [e.event_id for e in events]


def test_only_the_beginning_of_a_long_answer_is_read(
    sink: Opener, destination: Destination
) -> None:
    destination.answering = lambda _a: Said(500, b"\x1b[31mlong\n" + b"x" * 50_000_000)
    with pytest.raises(RetryableSinkError) as raised:
        sink().deliver(batch_of([completed(1)]))
    assert len(str(raised.value)) < 400
    assert str(raised.value).startswith("HTTP 500: [31mlong xxx")


def test_cookies_are_not_kept(sink: Opener, destination: Destination) -> None:
    destination.answering = lambda _a: Said(headers={"set-cookie": "session=1; Path=/"})
    opened = sink()
    for number in range(2):
        opened.deliver(batch_of([completed(number)]))
    assert all("cookie" not in a.headers for a in destination.asked)


def test_a_stop_ends_after_the_request_in_hand(sink: Opener, destination: Destination) -> None:
    report = sink(max_events=2, stopping=lambda: len(destination.asked) == 2).deliver(
        batch_of([completed(n) for n in range(10)])
    )
    assert list(report.delivered) == [ID(n) for n in range(4)]
