"""What the sink `stripe` does with usage, from the journal to Stripe's books."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from meter.sandbox.stripe_faults import StripePlan
from meter_stripe.sink import StripeSink
from meter_stripe.unwinding import Unwinding
from support.billing import KEY, SECONDS, Billing
from support.facts import failed, terminated

EVENTS = "/v1/billing/meter_events"
LOST = StripePlan(lost="response")
GONE = StripePlan(lost="request")


@pytest.fixture
def billing(tmp_path: Path) -> Iterator[Billing]:
    made = Billing(tmp_path)
    yield made
    made.journal.close()


def redrive(billing: Billing, event_id: str) -> None:
    row = billing.row(event_id)
    billing.journal.exceptions.redrive(billing.name, [row.offset], billing.clock.now()).wait()


def test_a_customers_usage_of_an_hour_is_one_meter_event(billing: Billing) -> None:
    for minutes in (1, 2, 3):
        billing.use("cus_a", 20, ago=timedelta(minutes=minutes))
    billing.use("cus_b", "0.25")
    billing.use("cus_b", "7.75")
    billing.run()
    assert [billing.total("cus_a"), billing.total("cus_b")] == [60, 8]
    assert len(billing.truth.events) == 2
    assert billing.balance().delivered == 5


def test_fractions_are_kept_until_they_make_a_unit(billing: Billing) -> None:
    sent = []
    for _ in range(8):
        billing.use("cus_a", "0.3")
        billing.pass_(minutes=2)
        sent.append(int(billing.total()))
    assert sent == [0, 0, 0, 1, 1, 1, 2, 2]
    assert billing.balance().delivered == 8


def test_a_coarser_unit_never_rounds_each_event(tmp_path: Path) -> None:
    billing = Billing(tmp_path, meters=[{"event_name": SECONDS, "unit": "minute"}])
    for _ in range(10):
        billing.use("cus_a", 50)
        billing.pass_(minutes=2)
    assert billing.total() == 8  # 500 seconds; the last 20 stay


def test_usage_of_one_minute_is_sent_at_once_and_the_next_one_waits_for_its_own(
    billing: Billing,
) -> None:
    billing.use(seconds=10)
    billing.run()
    second = billing.use(seconds=5)
    billing.run()
    assert billing.total() == 10
    assert billing.place(second) == "retrying"
    assert "minute" in billing.row(second).reason
    billing.pass_(seconds=61)
    assert billing.total() == 15
    stamps = billing.stamps()
    assert len(set(stamps)) == 2


def test_no_timestamp_ever_lies_ahead_and_none_leaves_its_hour(billing: Billing) -> None:
    for _ in range(200):
        billing.use(seconds=1)
        billing.run()
        billing.clock.advance(seconds=37)
    billing.pass_(minutes=3)
    assert billing.total() == 200
    for event in billing.truth.events:
        assert event.timestamp <= event.received_at
        assert event.received_at - event.timestamp < timedelta(minutes=3)


def test_the_last_minute_of_a_month_stays_in_its_month(billing: Billing) -> None:
    end = datetime(2026, 12, 1, tzinfo=UTC)
    billing.clock.advance(seconds=(end - billing.clock.now()).total_seconds() - 20)
    billing.use(seconds=5)
    billing.run()
    billing.clock.advance(seconds=10)
    billing.use(seconds=6)
    billing.pass_(minutes=5)
    assert billing.total() == 11
    assert all(stamp < end for stamp in billing.stamps())


def test_a_new_sink_bills_nothing_of_the_past(tmp_path: Path) -> None:
    billing = Billing(tmp_path)
    billing.start = None
    billing.use(seconds=100)
    billing.run()
    billing.use(seconds=7)
    billing.run()
    assert billing.total() == 7
    assert billing.balance().filtered == 1


def test_another_name_of_the_sink_does_not_bill_the_past_again(billing: Billing) -> None:
    billing.use(seconds=100)
    billing.run()
    billing.name = "invoices"
    billing.reopen()
    billing.use(seconds=7)
    billing.pass_(minutes=2)
    assert billing.total() == 107
    assert billing.balance().delivered == 2


def test_usage_that_several_meters_count_is_on_each_of_them(tmp_path: Path) -> None:
    meters = [
        {"event_name": SECONDS},
        {"event_name": "premium", "models": ["universal-3-pro"]},
        {"event_name": "streams", "kinds": "stream_terminated", "unit": "minute"},
    ]
    billing = Billing(tmp_path, meters=meters)
    billing.use(seconds=10, model="universal-3-pro")
    billing.use(seconds=20, model="nano")
    billing.record([terminated("s1", customer_id="cus_a", seconds=Decimal(90))])
    billing.pass_(minutes=2)
    assert billing.total(meter=SECONDS) == 120
    assert billing.total(meter="premium") == 10
    assert billing.total(meter="streams") == 1
    assert billing.balance().delivered == 3


def test_usage_that_no_meter_counts_is_held_until_one_does(tmp_path: Path) -> None:
    billing = Billing(tmp_path, meters=[{"event_name": SECONDS, "dimensions": {"plan": "pro"}}])
    mine = billing.use(seconds=9)
    billing.run()
    assert billing.place(mine) == "held"
    assert "no meter" in billing.row(mine).reason
    billing.options["meters"] = [{"event_name": SECONDS}]
    billing.restart()
    billing.pass_(hours=1)
    assert billing.total() == 9


def test_what_is_never_billed_is_refused_and_not_sent(billing: Billing) -> None:
    event = failed("f1", customer_id="cus_a")
    billing.record([event])
    from meter.config import PipelineConfig

    worker = billing.worker()
    worker._pipelines = [
        PipelineConfig.model_validate(
            {"from": ["transcripts"], "to": ["billing"], "where": {}, "kinds": ["async_failed"]}
        )
    ]
    billing.run()
    assert billing.place(event.event_id) == "dead"
    assert billing.truth.events == ()


def test_an_unmapped_customers_usage_is_held_by_name_and_flows_once_it_is_mapped(
    tmp_path: Path,
) -> None:
    customers = tmp_path / "customers.yaml"
    customers.write_text("acme: cus_a\n")
    billing = Billing(tmp_path, customers={"file": str(customers)})
    billing.use("acme", 5)
    held = billing.use("globex", 7)
    billing.run()
    assert billing.total() == 5
    assert billing.place(held) == "held"
    assert "globex" in billing.row(held).reason
    customers.write_text("acme: cus_a\nglobex: cus_g\n")
    billing.pass_(seconds=5)
    assert billing.total("cus_g") == 7
    assert billing.balance().held == 0


def test_late_usage_is_held_and_carried_forward_when_that_is_the_policy(tmp_path: Path) -> None:
    billing = Billing(tmp_path)
    last_month = billing.use(seconds=11, ago=timedelta(days=25))
    too_old = billing.use(seconds=13, ago=timedelta(days=36))
    billing.use(seconds=1)
    billing.run()
    assert billing.total() == 1
    assert "2026-11-01" in billing.row(last_month).reason
    assert "35 days" in billing.row(too_old).reason
    billing.options["late"] = "carry_forward"
    billing.restart()
    billing.pass_(hours=1)
    assert billing.total() == 25
    assert min(billing.stamps()) >= billing.clock.now() - timedelta(hours=2)


def test_a_refusal_is_a_dead_letter_in_stripes_words_and_can_be_redriven(tmp_path: Path) -> None:
    billing = Billing(tmp_path, rules={"unknown_customers": "refused"})
    refused = billing.use("cus_nobody", 30)
    billing.run()
    assert billing.place(refused) == "dead"
    assert "No such customer: 'cus_nobody'" in billing.row(refused).reason
    made = billing.books.add("/v1/customers", {"name": "Anna"})["id"]
    billing.options["customers"] = {"file": str(tmp_path / "c.yaml")}
    (tmp_path / "c.yaml").write_text(f"cus_nobody: {made}\n")
    billing.restart()
    redrive(billing, refused)
    billing.run()
    assert billing.place(refused) == "delivered"
    assert billing.total(made) == 30


def test_a_redriven_event_has_another_identifier_and_the_remainder_is_right(
    billing: Billing,
) -> None:
    billing.books.plan_next(StripePlan(status=400), path=EVENTS)
    refused = billing.use(seconds="10.6")
    billing.run()
    billing.use(seconds="0.6")
    billing.pass_(minutes=2)
    assert billing.total() == 0
    redrive(billing, refused)
    billing.pass_(minutes=2)
    assert billing.total() == 11  # 11.2 in all
    assert len({event.identifier for event in billing.truth.events}) == len(billing.truth.events)


def test_a_refused_key_parks_the_sink_and_keeps_everything(billing: Billing) -> None:
    billing.books.plan_next(StripePlan(status=401), path=EVENTS)
    billing.use(seconds=42)
    billing.run()
    assert billing.parked is not None
    assert "api_key" in billing.parked
    assert KEY not in billing.parked
    assert billing.balance().pending == 1
    billing.restart()
    billing.pass_(seconds=30)
    assert billing.total() == 42


def test_a_lost_answer_is_asked_for_again_under_the_same_identifier(billing: Billing) -> None:
    billing.books.plan_next(LOST, GONE, path=EVENTS)
    billing.use(seconds=60)
    billing.pass_(minutes=1)
    assert billing.total() == 60
    assert len(billing.truth.events) == 1
    assert billing.balance().delivered == 1


def test_after_23_hours_the_slot_proves_that_it_was_counted(billing: Billing) -> None:
    billing.books.plan_next(LOST, *[GONE] * 400, path=EVENTS)
    billing.use(seconds=60)
    billing.pass_(hours=22.9)
    assert billing.balance().delivered == 0
    sent = len(billing.books.requests)
    billing.pass_(hours=3)
    assert billing.total() == 60
    assert billing.balance().delivered == 1
    later = billing.books.requests[sent:]
    assert [r for r in later if r.route.endswith("event_summaries")]
    border = billing.truth.events[0].received_at + timedelta(hours=23, minutes=1)
    assert not [r for r in later if r.route == EVENTS and r.at > border]


def test_after_23_hours_an_empty_slot_is_filled_by_the_next_generation(billing: Billing) -> None:
    billing.books.plan_next(*[GONE] * 400, path=EVENTS)
    billing.use(seconds=60)
    billing.pass_(hours=23.5)
    billing.books._plans.clear()
    assert billing.total() == 0
    billing.pass_(hours=2)
    assert billing.total() == 60
    assert billing.balance().delivered == 1


def test_a_slot_that_counts_something_else_is_shown_and_never_touched(billing: Billing) -> None:
    billing.books.plan_next(*[GONE] * 400, path=EVENTS)
    event = billing.use(seconds=60)
    billing.run()
    stamp = int(billing.clock.now().timestamp()) // 60 * 60
    billing.books.add(
        EVENTS,
        {
            "event_name": SECONDS,
            "timestamp": str(stamp),
            "payload": {"stripe_customer_id": "cus_a", "value": "7"},
        },
    )
    billing.pass_(hours=30)
    assert billing.place(event) == "held"
    assert "60 was sent and Stripe counts 7" in billing.row(event).reason
    assert billing.total() == 7


def test_one_customers_trouble_delays_no_other(billing: Billing) -> None:
    billing.use("cus_a", 1)
    billing.use("cus_b", 2)
    billing.books.plan_next(StripePlan(status=503), path=EVENTS)
    billing.run()
    assert {billing.total("cus_a"), billing.total("cus_b")} in ({0, 2}, {1, 0})
    billing.pass_(seconds=30)
    assert [billing.total("cus_a"), billing.total("cus_b")] == [1, 2]


def test_v2_bills_the_same(tmp_path: Path) -> None:
    billing = Billing(tmp_path, api="v2")
    billing.books.plan_next(LOST, path="/v2/billing/meter_events")
    billing.use(seconds=60)
    billing.use("cus_b", seconds="3.5")
    billing.pass_(minutes=2)
    assert [billing.total(), billing.total("cus_b")] == [60, 3]
    assert {event.api for event in billing.truth.events} == {"v2"}


def test_what_was_held_is_offered_again_as_soon_as_meter_is_restarted(tmp_path: Path) -> None:
    billing = Billing(tmp_path)
    billing.use(seconds=11, ago=timedelta(days=25))
    billing.run()
    billing.options["late"] = "carry_forward"
    billing.restart()
    billing.run()
    assert billing.total() == 11


def test_usage_that_is_about_to_miss_its_invoice_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    billing = Billing(tmp_path, invoice_grace="2h")
    end = datetime(2026, 12, 1, tzinfo=UTC)
    billing.clock.advance(seconds=(end - billing.clock.now()).total_seconds() - 60)
    billing.books.plan_next(*[GONE] * 400, path=EVENTS)
    billing.use(seconds=11)
    billing.pass_(minutes=40)
    assert not logged(caplog)
    billing.pass_(minutes=30)
    assert len(logged(caplog)) == 1
    billing.books._plans.clear()
    billing.pass_(minutes=60)
    assert billing.total() == 11


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.message for r in caplog.records if r.message == "stripe.unsent_near_invoice"]


def test_one_redrive_sends_an_event_to_every_meter_that_refused_it(tmp_path: Path) -> None:
    meters = [{"event_name": SECONDS}, {"event_name": "premium"}]
    billing = Billing(tmp_path, meters=meters)
    billing.books.plan_next(StripePlan(status=400), path=EVENTS)
    event = billing.use(seconds=30)
    billing.run()
    assert billing.place(event) == "dead"
    (sent,) = billing.truth.events
    sink = billing.worker()._sink
    assert isinstance(sink, StripeSink)
    (books,) = [each for each in sink.books() if each.event_name == sent.event_name]
    intent = books.ledger.intent(sent.identifier)
    assert intent is not None
    unwinding = Unwinding(books.ledger, billing.clock.now())
    unwinding.reject(intent, "Stripe reported it")
    books.ledger.state.commit(unwinding.report().state)
    redrive(billing, event)
    billing.pass_(minutes=2)
    assert billing.place(event) == "delivered"
    stood = {each.event_name for each in billing.truth.events if each.identifier != sent.identifier}
    assert stood == {SECONDS, "premium"}
