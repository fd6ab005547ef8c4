"""`meter stripe plan`: what it prints is what is sent then, and it sends nothing."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest

from meter.sandbox.stripe_faults import StripeFaults, StripePlan
from meter_stripe.customers import customers_for
from meter_stripe.forecast import Forecast, forecast
from meter_stripe.plan_command import plan
from support.facts import completed, terminated
from support.stripe_desk import DeskTill, desk_till

METERS: list[dict[str, Any]] = [
    {"event_name": "seconds", "kinds": "async_completed"},
    {"event_name": "minutes", "kinds": "stream_terminated", "unit": "minute"},
]


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[DeskTill]:
    with desk_till(tmp_path) as made:
        yield made


def use(
    shop: DeskTill, name: str, seconds: str = "60", customer: str = "cus_1", ago: float = 20
) -> str:
    event = completed(
        name,
        customer_id=customer,
        seconds=Decimal(seconds),
        occurred_at=shop.clock.now() - timedelta(minutes=ago),
        recorded_at=shop.clock.now(),
    )
    shop.journal.append([event]).wait()
    return event.event_id


def printed(
    shop: DeskTill,
    capsys: pytest.CaptureFixture[str],
    style: str = "table",
    customer: str | None = None,
) -> str:
    capsys.readouterr()
    plan(shop.desk(), style=style, customer=customer)
    return capsys.readouterr().out


def foreseen(shop: DeskTill) -> Forecast:
    desk = shop.desk()
    customers = customers_for(desk.sink.options, desk.sink.api)
    customers.refresh(shop.clock.now())
    return forecast(desk, customers)


def test_nothing_to_send_is_said(shop: DeskTill, capsys: pytest.CaptureFixture[str]) -> None:
    assert "nothing is to be sent" in printed(shop, capsys)


def test_it_sends_nothing_and_asks_stripe_nothing(
    shop: DeskTill, capsys: pytest.CaptureFixture[str]
) -> None:
    use(shop, "a")
    printed(shop, capsys)
    assert shop.stripe.requests == ()
    assert shop.journal.sink_state("billing", "stripe").scan("") == []


def test_a_person_can_read_it(shop: DeskTill, capsys: pytest.CaptureFixture[str]) -> None:
    use(shop, "a", "60.25")
    use(shop, "b", "60.5")
    said = printed(shop, capsys)
    assert "nothing is sent by this" in said
    row = next(line for line in said.splitlines() if line.startswith("cus_1"))
    assert row.split()[:8] == ["cus_1", "cus_1", "seconds", "2", "120.75", "120", "second", "0.75"]
    assert "2026-11-22 11:00 to 12:00 in 1 meter event  now" in row
    assert (
        "total seconds: 120 seconds for 1 customer, in 1 meter event, from 2 events of 120.75 s"
        in said
    )
    for ugly in ("Decimal", "datetime", "E+", "None", "{", "'"):
        assert ugly not in said


def test_what_it_says_is_what_is_sent(tmp_path: Path) -> None:
    with desk_till(tmp_path, meters=METERS) as shop:
        draw = Random(4)
        for round_ in range(3):
            events = []
            for number in range(60):
                kind = completed if draw.random() < 0.7 else terminated
                events.append(
                    kind(
                        f"{round_}-{number}",
                        collector="transcripts",
                        customer_id=f"cus_{draw.randrange(4)}",
                        seconds=Decimal(draw.randrange(1, 90_000)) / 1000,
                        occurred_at=shop.clock.now() - timedelta(minutes=draw.randrange(600)),
                        recorded_at=shop.clock.now(),
                    )
                )
            shop.journal.append(events).wait()
            said = {
                (line.stripe_customer, line.meter): line.total()
                for line in foreseen(shop).lines.values()
            }
            before, sent = dict(shop.stripe.truth().totals), len(shop.stripe.truth().events)
            assert shop.desk().deliver_now()
            after = shop.stripe.truth()
            assert {
                pair: after.totals[pair] - before.get(pair, 0)
                for pair in after.totals
                if after.totals[pair] != before.get(pair, 0)
            } == {pair: total.units for pair, total in said.items() if total.units}
            assert len(after.events) - sent == sum(t.meter_events for t in said.values())
            assert sum(total.events for total in said.values()) == 60
            shop.later(minutes=30)


def test_what_is_held_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mapping = tmp_path / "customers.yaml"
    mapping.write_text("acme: cus_1\n")
    with desk_till(tmp_path, customers={"file": mapping}) as shop:
        use(shop, "a", customer="acme")
        use(shop, "b", customer="Müller & Söhne")
        use(shop, "old", customer="acme", ago=60 * 24 * 40)
        said = printed(shop, capsys)
        assert "held: 2 events of 120 s" in said
        assert "1 event of 60 s, customer Müller & Söhne: customer 'Müller & Söhne' has no" in said
        assert "late: it is older than the 35 days that Stripe takes" in said
        assert "meter stripe carry-forward" in said
        mapping.write_text('acme: cus_1\n"Müller & Söhne": cus_2\n')
        assert "held: 1 event of 60 s" in printed(shop, capsys)


def test_what_awaits_an_answer_is_not_counted_again(
    shop: DeskTill, capsys: pytest.CaptureFixture[str]
) -> None:
    use(shop, "a")
    shop.worker.step()
    shop.clock.advance(minutes=5)
    shop.stripe.faults = StripeFaults(response_lost=1.0)
    use(shop, "b")
    for _ in range(3):
        shop.worker.step()
    use(shop, "c", "7", ago=1)
    said = printed(shop, capsys)
    assert "already under way, and not in the figures above:" in said
    (intent,) = shop.ledger.every_open_intent()
    assert intent.identifier in said
    assert "sent again as it was, at 2026-11-22T12:0" in said
    document = json.loads(printed(shop, capsys, "json"))
    assert [(line["units"], line["when"]) for line in document["send"]] == [
        (7, f"once {intent.identifier} is answered")
    ]
    assert [one["identifier"] for one in document["under_way"]] == [intent.identifier]


def test_dead_letters_are_shown_with_stripes_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with desk_till(tmp_path, rules={"unknown_customers": "refused"}) as shop:
        use(shop, "a")
        shop.desk().deliver_now()
        said = printed(shop, capsys)
    assert "dead letters: 1 event of 60 s" in said
    assert "No such customer: 'cus_1'" in said
    assert "nothing is to be sent" in said


def test_one_customer_can_be_asked_for(shop: DeskTill, capsys: pytest.CaptureFixture[str]) -> None:
    for customer in ("cus_1", "cus_2"):
        use(shop, customer, customer=customer)
    said = printed(shop, capsys, customer="cus_2")
    assert "cus_2" in said
    assert "cus_1" not in said


def test_csv_and_json_say_the_same(shop: DeskTill, capsys: pytest.CaptureFixture[str]) -> None:
    use(shop, "a", "0.1")
    use(shop, "b", "60.2")
    use(shop, "c", "5", customer="=1+1")
    formula, line = csv.DictReader(io.StringIO(printed(shop, capsys, "csv")))
    assert (line["seconds"], line["units"], line["remainder_seconds"]) == ("60.3", "60", "0.3")
    assert (formula["customer"], formula["units"]) == ("'=1+1", "5")
    document = json.loads(printed(shop, capsys, "json"))
    _, send = document["send"]
    assert (send["seconds"], send["units"], send["remainder_seconds"]) == ("60.3", 60, "0.3")
    assert [hour["units"] for hour in send["hours"]] == [60]


def test_usage_of_today_that_is_carried_forward_is_planned_so(tmp_path: Path) -> None:
    with desk_till(tmp_path, late="carry_forward") as shop:
        use(shop, "old", ago=60 * 24 * 40)
        (line,) = foreseen(shop).lines.values()
        assert line.total().units == 60
        assert [hour.date() for hour in line.hours] == [shop.clock.now().date()]


def test_a_hundred_thousand_pending_events_fit_in_flat_memory(tmp_path: Path) -> None:
    import tracemalloc

    with desk_till(tmp_path) as shop:
        peaks = []
        for part in range(2):
            for start in range(0, 20_000, 5_000):
                shop.journal.append(
                    [
                        completed(
                            f"{part}-{number}",
                            customer_id=f"cus_{number % 50}",
                            occurred_at=shop.clock.now() - timedelta(minutes=number % 300),
                            recorded_at=shop.clock.now(),
                        )
                        for number in range(start, start + 5_000)
                    ]
                ).wait()
            desk = shop.desk()
            desk.sink.batch_size = 2_000
            tracemalloc.start()
            made = forecast(desk, customers_for(desk.sink.options, desk.sink.api))
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
            assert sum(line.total().events for line in made.lines.values()) == 20_000 * (part + 1)
        assert peaks[1] < peaks[0] * 1.25


def test_lost_requests_leave_the_plan_as_it_was(shop: DeskTill) -> None:
    use(shop, "a")
    before = foreseen(shop).lines
    shop.plan(StripePlan(status=429, recorded=False))
    for _ in range(2):
        shop.worker.step()
    made = foreseen(shop)
    assert not made.lines
    assert [intent.value for _, intent in made.underway] == [60]
    (line,) = before.values()
    assert line.total().units == 60


def test_usage_of_the_future_is_given_its_date(shop: DeskTill) -> None:
    use(shop, "ahead", ago=-60 * 24 * 3)
    (line,) = foreseen(shop).lines.values()
    assert line.when == "from 2026-11-25 12:00"


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (None, "by `start: now` its first run takes no usage of before"),
        ("now", "by `start: now` its first run takes no usage of before"),
        ("beginning", "by `start: beginning` its first run takes everything that is recorded"),
        (datetime(2026, 11, 22, tzinfo=UTC), "by `start: 2026-11-22T00:00:00Z` its first run"),
    ],
)
def test_a_sink_that_never_ran_says_what_its_first_run_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], start: Any, words: str
) -> None:
    class StartsElsewhere(DeskTill):
        def _config(self) -> Any:
            return replace(super()._config(), start=start)

    shop = StartsElsewhere(tmp_path, {}, {})
    old = use(shop, "old", ago=60 * 24 * 2)
    said = printed(shop, capsys)
    assert f"the sink never ran; {words}" in said
    assert "not opened yet, planned as if nothing was sent: seconds" in said
    assert shop.desk().place(old) == ("pending" if start == "beginning" else "filtered")
    shop.journal.close()
