"""The configurations of docs/http.md against a double of each destination, over real sockets."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest

from http_sink import lago_double, metronome_double, openmeter_double
from http_sink.documented import Documented
from http_sink.double import Asked, Destination, Said
from http_sink.lago_double import Lago
from http_sink.metronome_double import Metronome
from http_sink.openmeter_double import OpenMeter
from meter.events import Event
from support.clocks import FakeClock
from support.facts import NOON, completed, terminated


def usage(count: int, *, first: int = 0) -> list[Event]:
    """Events of three customers with odd fractions, of both billed kinds."""
    chance = Random(7)
    made: list[Event] = []
    for number in range(first, first + count):
        seconds = Decimal(chance.randrange(1, 10**12)).scaleb(-9)
        who = ("acme", "globex", "Müller & Söhne")[number % 3]
        make = completed if number % 4 else terminated
        made.append(
            make(number, customer_id=who, seconds=seconds, collector="apps", model="universal")
        )
    return made


def sums(events: list[Event], kind: str) -> dict[str, Decimal]:
    found: dict[str, Decimal] = {}
    for event in events:
        if event.kind == kind:
            assert event.billed_seconds is not None
            found[event.customer_id] = found.get(event.customer_id, Decimal(0)) + (
                event.billed_seconds
            )
    return found


def unreliable(answer: Callable[[Asked], Said], seed: int) -> Callable[[Asked], Said]:
    """Lose answers after they took effect, lose requests before, and say 503, by a seed."""
    chance = Random(seed)

    def answering(asked: Asked) -> Said:
        fate = chance.random()
        if fate < 0.2:
            return Said(cut=True)
        if fate < 0.3:
            return Said(503, headers={"retry-after": "2"})
        said = answer(asked)
        return Said(cut=True) if fate < 0.55 else said

    return answering


def settle(site: Documented) -> None:
    for _ in range(300):
        site.run()
        balance = site.balance()
        assert not site.parked
        if balance.delivered == balance.recorded:
            return
        site.clock.advance(seconds=90)
    raise AssertionError(f"never delivered: {site.trouble[-3:]}")


@pytest.fixture
def openmeter() -> Iterator[OpenMeter]:
    with OpenMeter().serving() as served:
        assert isinstance(served, OpenMeter)
        yield served


@pytest.fixture
def lago() -> Iterator[Lago]:
    with Lago().serving() as served:
        assert isinstance(served, Lago)
        yield served


@pytest.fixture
def metronome(clock: FakeClock) -> Iterator[Metronome]:
    with Metronome(clock).serving() as served:
        assert isinstance(served, Metronome)
        yield served


Sites = Callable[..., Documented]


@pytest.fixture
def site(tmp_path: Path, clock: FakeClock) -> Iterator[Sites]:
    made: list[Documented] = []
    token = {
        "openmeter": {"OPENMETER_TOKEN": openmeter_double.TOKEN},
        "lago": {"LAGO_API_KEY": lago_double.KEY},
        "metronome": {"METRONOME_TOKEN": metronome_double.TOKEN},
    }
    (tmp_path / "subscriptions.yaml").write_text(
        "acme: sub_acme\nglobex: sub_globex\nMüller & Söhne: sub_müller\n"
    )

    def make(name: str, destination: Destination, **environ: str) -> Documented:
        given = {f"{name.upper()}_URL": destination.url, **token[name], **environ}
        made.append(Documented(tmp_path, name, clock, **given))
        return made[-1]

    yield make
    for one in made:
        one.end()


SUBSCRIPTIONS = {"acme": "sub_acme", "globex": "sub_globex", "Müller & Söhne": "sub_müller"}
EVENTS = usage(230)


@pytest.mark.parametrize("seed", [1, 2])
def test_openmeter_counts_each_second_once_whatever_is_lost(
    site: Sites, openmeter: OpenMeter, seed: int
) -> None:
    openmeter.answering = unreliable(openmeter.answer, seed)
    made = site("openmeter", openmeter)
    made.record(EVENTS)
    settle(made)
    assert len(openmeter.events) < sum(len(a.json) for a in openmeter.asked), "there were repeats"
    assert openmeter.usage("transcription") == sums(EVENTS, "async_completed")
    assert openmeter.usage("streaming") == sums(EVENTS, "stream_terminated")


@pytest.mark.parametrize("seed", [1, 2])
def test_lago_counts_each_second_once_whatever_is_lost(site: Sites, lago: Lago, seed: int) -> None:
    lago.answering = unreliable(lago.answer, seed)
    made = site("lago", lago)
    made.record(EVENTS)
    settle(made)
    for code, kind in (
        ("transcription_seconds", "async_completed"),
        ("streaming_seconds", "stream_terminated"),
    ):
        expected = {SUBSCRIPTIONS[who]: total for who, total in sums(EVENTS, kind).items()}
        assert lago.usage(code) == expected
    assert max(len(a.json["events"]) for a in lago.asked) == 100
    (one, *_) = lago.events.values()
    assert one["timestamp"] == int(NOON.timestamp())


@pytest.mark.parametrize("seed", [1, 2])
def test_metronome_counts_each_second_once_whatever_is_lost(
    site: Sites, metronome: Metronome, seed: int
) -> None:
    metronome.answering = unreliable(metronome.answer, seed)
    made = site("metronome", metronome)
    made.record(EVENTS)
    settle(made)
    assert metronome.usage("transcription") == sums(EVENTS, "async_completed")
    assert metronome.usage("streaming") == sums(EVENTS, "stream_terminated")
    assert metronome.events[0]["timestamp"] == "2026-11-22T12:00:00.000000Z"
    assert metronome.asked[0].headers["content-encoding"] == "gzip"


def test_a_whole_batch_repeated_to_lago_is_known_event_by_event(site: Sites, lago: Lago) -> None:
    lago.answering = lambda a: (lago.answer(a), Said(cut=True))[1]
    made = site("lago", lago)
    made.record(EVENTS[:50])
    made.run()
    assert len(lago.events) == 50
    assert made.balance().delivered == 0
    lago.answering = lago.answer
    made.record(usage(10, first=1000))
    settle(made)
    assert len(lago.events) == 60
    assert [len(a.json["events"]) for a in lago.asked[1:]] == [60, 10]


def test_lago_refuses_one_event_and_the_others_are_billed(site: Sites, lago: Lago) -> None:
    poison = EVENTS[7].event_id

    def answering(asked: Asked) -> Said:
        places = [e["transaction_id"] for e in asked.json["events"]]
        if poison in places:
            where = str(places.index(poison))
            details = {where: {"timestamp": ["invalid_format"]}}
            return Said.of(422, {"code": "validation_errors", "error_details": details})
        return lago.answer(asked)

    lago.answering = answering
    made = site("lago", lago)
    made.record(EVENTS[:20])
    made.run()
    balance = made.balance()
    assert (balance.delivered, balance.dead_lettered) == (19, 1)
    assert made.row(poison).reason == 'HTTP 422: {"timestamp":["invalid_format"]}'
    assert len(lago.asked) == 2


def test_a_customer_without_a_subscription_is_held_until_the_file_names_it(
    site: Sites, lago: Lago, tmp_path: Path
) -> None:
    made = site("lago", lago)
    made.record([completed("n", customer_id="new", collector="apps"), *EVENTS[:3]])
    made.run()
    assert (made.balance().delivered, made.balance().held) == (3, 1)
    path = tmp_path / "subscriptions.yaml"
    path.write_text(path.read_text() + "new: sub_new\n")
    made.pass_(seconds=2)
    made.run()
    assert made.balance().delivered == 4
    assert lago.usage("transcription_seconds")["sub_new"] == 60


def test_a_wrong_key_parks_the_sink_and_a_restart_with_the_right_one_loses_nothing(
    site: Sites, lago: Lago
) -> None:
    made = site("lago", lago, LAGO_API_KEY="wr0ng-key")
    made.record(EVENTS[:5])
    made.run()
    assert made.parked.endswith("look at `headers`: the key is missing or wrong")
    assert "wr0ng-key" not in made.parked
    assert made.balance().pending == 5
    made.end()
    again = site("lago", lago)
    settle(again)
    assert len(lago.events) == 5


def test_a_code_that_the_destination_refuses_for_every_event_condemns_none(
    site: Sites, metronome: Metronome
) -> None:
    metronome.answering = lambda _a: Said.of(400, {"message": "event_type is not enabled"})
    made = site("metronome", metronome)
    made.record(EVENTS[:40])
    for _ in range(8):
        made.run()
        made.pass_(seconds=700)
    assert made.balance().dead_lettered == 0
    assert "event_type is not enabled" in made.trouble[0]
    metronome.answering = metronome.answer
    settle(made)
    assert len(metronome.events) == 40


def test_twelve_poisoned_events_at_the_head_do_not_block_the_rest_for_ever(
    site: Sites, openmeter: OpenMeter
) -> None:
    bad = {event.event_id for event in EVENTS[:12]}
    openmeter.answering = lambda a: (
        Said(400, b"bad") if bad & {e["id"] for e in a.json} else openmeter.answer(a)
    )
    made = site("openmeter", openmeter)
    made.record(EVENTS[:30])
    for _ in range(40):
        made.run()
        if len(openmeter.events) == 18:
            break
        made.clock.advance(seconds=700)
    assert len(openmeter.events) == 18
    balance = made.balance()
    assert balance.delivered == 18
    assert balance.dead_lettered + balance.retrying == 12


def test_metronome_forgets_after_34_days_as_the_page_warns(
    site: Sites, metronome: Metronome, clock: FakeClock
) -> None:
    made = site("metronome", metronome)
    made.record(EVENTS[:1])
    made.run()
    (asked,) = metronome.asked
    clock.advance(days=33)
    metronome.answer(asked)
    assert len(metronome.events) == 1
    clock.advance(days=2)
    metronome.answer(asked)
    assert len(metronome.events) == 2


def test_openmeter_without_deduplication_would_count_a_repeat_twice_as_the_page_warns(
    site: Sites, openmeter: OpenMeter
) -> None:
    openmeter.answering = lambda a: (openmeter.answer(a), Said(cut=True))[1]
    made = site("openmeter", openmeter)
    made.record(EVENTS[:3])
    made.run()
    openmeter.answering = openmeter.answer
    made.pass_(seconds=90)
    settle(made)
    sent = [(e["source"], e["id"]) for a in openmeter.asked for e in a.json]
    assert len(sent) == 2 * len(openmeter.events), "the same ids, both times"


def test_the_three_have_nothing_to_say_against_hostile_text(
    site: Sites, openmeter: OpenMeter
) -> None:
    texts = ['"', "\\", "\n", "\x00", "🙂", "=1+1", "{event_id}", "x" * 10_000]
    made = site("openmeter", openmeter)
    made.record(
        completed(n, customer_id=text, dimensions={text: text}, collector="apps")
        for n, text in enumerate(texts)
    )
    settle(made)
    assert set(openmeter.usage("transcription")) == set(texts)


def test_check_tries_lago_s_key_without_sending_an_event(site: Sites, lago: Lago) -> None:
    made = site("lago", lago)
    entry = made.config.sinks["lago"]
    from meter.delivery.contexts import unopened

    lines = unopened(entry, journal=made.journal, clock=made.clock).check()
    assert lines[0] == "3 customers have a name in the file"
    assert lines[2] == f"{lago.url}/api/v1/billable_metrics takes the key (HTTP 200)"
    assert not lago.asked


def test_old_usage_keeps_its_own_time(site: Sites, lago: Lago) -> None:
    then = NOON - timedelta(days=20)
    made = site("lago", lago)
    made.record([completed(1, collector="apps", occurred_at=then)])
    made.run()
    (event,) = lago.events.values()
    assert event["timestamp"] == int(then.timestamp())


def test_the_doubles_refuse_what_the_real_ones_refuse() -> None:
    every: list[Destination] = [OpenMeter(), Lago(), Metronome(FakeClock())]
    paths = ("/api/v1/events", "/api/v1/events/batch", "/v1/ingest")
    for one, path in zip(every, paths, strict=True):
        nobody = Asked("POST", path, {"content-type": "application/json"}, b"[]", 0)
        assert one.take(nobody).status == 401
    key = {"authorization": f"Bearer {lago_double.KEY}", "content-type": "application/json"}
    many = b'{"events":[%s]}' % b",".join(itertools.repeat(b"{}", 101))
    assert b"too_many_events" in every[1].take(Asked("POST", paths[1], key, many, 0)).body
