"""Stripe's error reports: kept before they are answered, fetched, and acted on once."""

import json
import time
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import stripe

from meter.sandbox.stripe_faults import StripePlan
from meter_stripe.error_reports import pending
from meter_stripe.ledger import Decision, Tally
from meter_stripe.troubles import troubles
from support.stripe_till import SECRET, Till, till

NOT_FOUND = "meter_event_customer_not_found"
REPORTED = f"Stripe reported {NOT_FOUND}: The event was rejected: {NOT_FOUND}"
EVENTS = "/v2/core/events"
THIN = {
    "id": "evt_1",
    "object": "v2.core.event",
    "type": "v1.billing.meter.error_report_triggered",
    "livemode": False,
    "related_object": {"id": "mtr_1", "type": "billing.meter"},
}


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Till]:
    with till(tmp_path, verify=False) as made:
        yield made


def signed(body: str, *, secret: str = SECRET) -> str:
    made = stripe.WebhookSignature.generate_signature_header(body, secret, int(time.time()))
    return str(made)


def post(shop: Till, **changes: Any) -> int:
    body = json.dumps({**THIN, **changes})
    return shop.post(body.encode(), signed(body)).status


def decline(shop: Till, *names: str, code: str = NOT_FOUND) -> list[str]:
    shop.plan(*[StripePlan(rejected_later=code)] * len(names))
    return shop.sent(*names)


# -- what is done about it -------------------------------------------------------------------------


def test_what_a_report_names_becomes_a_dead_letter_in_stripes_words(shop: Till) -> None:
    (good,) = shop.sent("good")
    (bad,) = decline(shop, "bad")
    assert shop.balance.delivered == 2
    shop.reported()
    shop.steps()
    assert shop.place(bad) == ("dead", REPORTED)
    assert shop.place(good)[0] == "delivered"
    (intent,) = shop.intents(bad)
    assert (intent.state, intent.note) == ("rejected", REPORTED)
    assert [attempt.what for attempt in intent.history] == ["send", "report"]
    assert shop.ledger.tallies(["cus_1"])["cus_1"].sent == 60
    assert shop.billed() == 60
    assert pending(shop.state) == []
    assert shop.fetches == 1


def test_a_redriven_event_is_billed_once_in_another_generation(shop: Till) -> None:
    (bad,) = decline(shop, "bad")
    shop.reported()
    shop.steps()
    shop.redrive()
    shop.steps()
    assert shop.place(bad)[0] == "delivered"
    assert [(i.generation, i.state) for i in shop.intents(bad)] == [
        (1, "rejected"),
        (2, "delivered"),
    ]
    assert shop.billed() == 60
    assert shop.ledger.tallies(["cus_1"])["cus_1"].sent == 60


def test_what_stripe_posts_again_does_nothing(shop: Till) -> None:
    (bad,) = decline(shop, "bad")
    (push,) = shop.pushed()
    assert shop.post(*push).status == 200
    shop.steps()
    shop.redrive()
    shop.steps()
    shop.restart()
    assert shop.post(*push).status == 200
    assert pending(shop.state) == []
    shop.steps()
    assert shop.place(bad)[0] == "delivered"
    assert shop.fetches == 1


def test_an_intent_that_waits_for_its_answer_and_is_reported_is_never_sent_again(
    shop: Till,
) -> None:
    shop.plan(StripePlan(rejected_later=NOT_FOUND, lost="response"))
    event = shop.use("bad", ago=timedelta(minutes=3))
    shop.worker.step()
    (intent,) = shop.intents(event)
    assert intent.state == "open"
    shop.reported()
    shop.edit(intent.waits(shop.clock.now(), 600))  # it would be sent again before it is looked at
    shop.steps(60, apart=30)
    (intent,) = shop.intents(event)
    assert (intent.state, intent.attempts) == ("rejected", 1)
    assert shop.place(event) == ("dead", REPORTED)
    assert list(shop.ledger.every_open_intent()) == []
    assert shop.ledger.tallies(["cus_1"])["cus_1"].sent == 0
    assert shop.billed() == 0


def test_a_disputed_intent_that_is_reported_is_disputed_no_more(shop: Till) -> None:
    (bad,) = decline(shop, "bad")
    (intent,) = shop.intents(bad)
    shop.edit(intent.changed(state="disputed", note="disputed: 60 sent"))
    shop.commit([shop.ledger.problem(intent.identifier, "disputed: 60 sent")])
    shop.journal.exceptions.recall("billing", {bad: "test"}, shop.clock.now()).wait()
    shop.worker.step()
    assert shop.place(bad) == ("held", "disputed: 60 sent")
    shop.reported()
    shop.steps()
    assert shop.place(bad) == ("dead", REPORTED)
    assert shop.problems() == []
    assert shop.ledger.tallies(["cus_1"])["cus_1"].sent == 0


@pytest.mark.parametrize("state", ["cancelled", "reissued", "rejected"])
def test_what_does_not_stand_anyway_stays_as_it_is(shop: Till, state: str) -> None:
    (bad,) = decline(shop, "bad")
    (intent,) = shop.intents(bad)
    shop.commit([shop.ledger.put_aside(intent.changed(state=state))])
    tally = shop.ledger.tallies(["cus_1"])
    shop.reported()
    shop.steps()
    (after,) = shop.intents(bad)
    assert after.state == state
    assert after.history[-1].what == "report"
    assert shop.ledger.tallies(["cus_1"]) == tally
    assert shop.place(bad)[0] == "delivered"


def test_an_event_that_was_to_be_taken_back_is_done_with(shop: Till) -> None:
    (bad,) = decline(shop, "bad")
    shop.reported()
    wanted = Decision("cancel", "anna", shop.clock.now())
    writes = [shop.ledger.decide(bad, wanted)]
    now = shop.clock.now()
    shop.journal.exceptions.recall("billing", {bad: "taken back"}, now, writes).wait()
    shop.plan(StripePlan(status=503), path="/v1/billing/meter_event_adjustments")
    shop.steps(60, apart=5)
    assert shop.place(bad)[0] == "delivered"
    assert shop.ledger.links([bad])[bad].cancelled
    assert shop.billed() == 0
    assert shop.ledger.tallies(["cus_1"])["cus_1"].sent == 0


def take_back_later(shop: Till, event: str) -> None:
    """Take an event back when its meter event can no longer be cancelled."""
    shop.clock.advance(hours=30)
    wanted = Decision("cancel", "anna", shop.clock.now())
    writes = [shop.ledger.decide(event, wanted)]
    now = shop.clock.now()
    shop.journal.exceptions.recall("billing", {event: "taken back"}, now, writes).wait()
    shop.steps()


def hourful(shop: Till) -> tuple[str, str]:
    """Two events in one meter event."""
    past = timedelta(minutes=3)
    pair = shop.use("one", 60, ago=past), shop.use("two", 40, ago=past)
    shop.steps(2)
    assert shop.intents(pair[0]) == shop.intents(pair[1])
    return pair


def test_a_rejected_meter_event_with_something_taken_back_bills_the_rest_exactly(
    tmp_path: Path,
) -> None:
    with till(tmp_path, verify=False, rules={"report_lag_seconds": 36 * 3600}) as shop:
        shop.plan(StripePlan(rejected_later=NOT_FOUND))
        one, two = hourful(shop)
        take_back_later(shop, two)
        assert shop.billed() == -40
        shop.clock.advance(hours=12)
        shop.reported()
        shop.steps()
        assert shop.place(one)[0] == "dead"
        assert shop.place(two)[0] == "delivered"
        shop.redrive()
        shop.steps()
        shop.sent("three")
        assert shop.billed() == 60 + 60
        tally = shop.ledger.tallies(["cus_1"])["cus_1"]
        assert tally == Tally(Decimal(120), 120)


def test_what_a_negative_event_takes_from_nothing_is_made_up_for(tmp_path: Path) -> None:
    with till(tmp_path, verify=False, rules={"report_lag_seconds": 36 * 3600}) as shop:
        shop.plan(StripePlan(rejected_later=NOT_FOUND))
        (event,) = shop.sent("a")
        take_back_later(shop, event)
        assert shop.billed() == -60
        shop.clock.advance(hours=12)
        shop.reported()
        shop.steps()
        shop.clock.advance(minutes=2)
        shop.steps()
        assert shop.billed() == 0
        shop.sent("b")
        assert shop.billed() == 60


def test_a_negative_event_that_is_rejected_leaves_its_event_billed_and_says_so(
    shop: Till,
) -> None:
    one, two = hourful(shop)
    shop.plan(StripePlan(rejected_later=NOT_FOUND))
    take_back_later(shop, two)
    assert shop.billed() == 100
    shop.reported()
    shop.steps()
    assert not shop.ledger.links([two])[two].cancelled
    assert shop.ledger.tallies(["cus_1"])["cus_1"].sent == 100
    (words,) = shop.problems()
    assert "taking back" in words
    assert two in words
    assert {shop.place(one)[0], shop.place(two)[0]} == {"delivered"}
    take_back_later(shop, two)
    assert shop.billed() == 60
    assert shop.problems() == []


def test_what_is_not_named_is_looked_for_in_the_days_that_may_be_meant(tmp_path: Path) -> None:
    rules = {"report_samples": 1, "report_lag_seconds": 600}
    with till(tmp_path, verify=False, rules=rules) as shop:
        good = shop.sent("good")
        bad = decline(shop, "a", "b", "c")
        other = shop.sent("else", customer="cus_2")
        shop.clock.advance(seconds=600)
        shop.reported()
        shop.steps()
        assert [shop.place(event)[0] for event in bad].count("dead") == 1
        ((_, trouble),) = troubles(shop.state)
        assert f"2 meter events that it does not count and does not name: {NOT_FOUND} (3)" in (
            trouble.words
        )
        assert sorted((day, who) for day, who, _ in shop.ledger.asked()) == [
            ("2026-11-22", "cus_1"),
            ("2026-11-22", "cus_2"),
        ]
        before = shop.reads
        shop.clock.advance(hours=1.2)
        shop.steps(30)
        assert len(shop.problems()) == 2
        assert all("counts none of it" in words for words in shop.problems())
        assert list(shop.ledger.asked()) == []
        assert troubles(shop.state) == []
        assert 2 <= shop.reads - before <= 12
        assert {shop.place(event)[0] for event in (*good, *other)} == {"delivered"}


def test_a_report_of_a_meter_that_is_not_ours_is_done_with(shop: Till) -> None:
    shop.steps()
    formula = {"default_aggregation": {"formula": "sum"}}
    shop.stripe.add("/v1/billing/meters", {"display_name": "x", "event_name": "x", **formula})
    shop.plan(StripePlan(rejected_later=NOT_FOUND))
    shop.unopened().api().send(
        event_name="x",
        identifier="theirs",
        customer="cus_1",
        value=Decimal(1),
        timestamp=int(shop.clock.now().timestamp()),
        idempotency_key="theirs",
    )
    assert len(shop.reported()) == 1
    shop.steps()
    assert pending(shop.state) == []
    assert troubles(shop.state) == []


def test_a_missing_meter_is_a_trouble_of_the_sink_and_names_its_usage(shop: Till) -> None:
    (bad,) = decline(shop, "bad", code="no_meter")
    shop.reported()
    shop.steps()
    assert shop.place(bad)[0] == "dead"
    ((_, trouble),) = troubles(shop.state)
    assert "Stripe has no meter for 1 meter events" in trouble.words
    assert trouble.ends == "person"


# -- a report that cannot be fetched ---------------------------------------------------------------


@pytest.mark.parametrize("status", [500, 503, 429, 401, 403, 404])
def test_a_report_that_cannot_be_fetched_waits_and_deliveries_go_on(
    shop: Till, status: int
) -> None:
    (bad,) = decline(shop, "bad")
    shop.reported()
    shop.plan(*[StripePlan(status=status)] * 3, path=EVENTS)
    shop.steps(2)
    ((_, kept),) = pending(shop.state)
    assert kept.tries == 1
    assert kept.words
    assert "sk_test" not in kept.words
    good = shop.sent("good", "better")
    assert {shop.place(event)[0] for event in good} == {"delivered"}
    assert shop.balance.parked is None
    waits = []
    for _ in range(400):
        shop.worker.step()
        shop.clock.advance(seconds=1)
        waits = [one.tries for _, one in pending(shop.state)]
    assert waits == []
    assert shop.fetches == 4
    assert shop.place(bad)[0] == "dead"


def test_while_stripe_is_gone_a_report_is_tried_ever_more_rarely(shop: Till) -> None:
    decline(shop, "bad")
    shop.reported()
    shop.plan(*[StripePlan(lost="request")] * 50, path=EVENTS)
    shop.steps(24 * 60, apart=60)
    ((_, kept),) = pending(shop.state)
    assert 25 <= kept.tries <= 33


def test_a_report_that_stripe_no_longer_has_is_given_up_after_a_day(shop: Till) -> None:
    assert post(shop, id="evt_gone") == 200
    shop.steps(26 * 60, apart=60)
    assert pending(shop.state) == []
    ((name, trouble),) = troubles(shop.state)
    assert name == "evt_gone"
    assert "cannot be had" in trouble.words
    fetches = shop.fetches
    assert post(shop, id="evt_gone") == 200
    shop.steps(10, apart=60)
    assert shop.fetches == fetches


def test_a_report_that_cannot_be_read_keeps_no_other_one_back(shop: Till) -> None:
    assert post(shop, id="evt_gone") == 200
    shop.steps(10)
    (bad,) = decline(shop, "bad")
    shop.reported()
    shop.steps(40)
    assert shop.place(bad)[0] == "dead"
    assert [event_id for event_id, _ in pending(shop.state)] == ["evt_gone"]


def test_many_reports_are_fetched_one_at_a_time(shop: Till) -> None:
    shop.steps(2)
    for number in range(20):
        shop.plan(StripePlan(rejected_later=NOT_FOUND))
        shop.use(f"bad {number}", customer=f"cus_{number}", ago=timedelta(minutes=3))
        shop.worker.step()
        shop.reported()
    before, waiting = shop.fetches, len(pending(shop.state))
    assert waiting > 10
    shop.clock.advance(seconds=2)
    shop.worker.step()
    assert shop.fetches - before == 1
    shop.steps(30)
    assert shop.balance.dead_lettered == 20
    assert {tally.sent for _, tally in shop.ledger.every_tally()} == {0}


def test_that_a_report_was_seen_to_is_not_remembered_for_ever(shop: Till) -> None:
    decline(shop, "bad")
    shop.reported()
    shop.steps()
    assert len(shop.state.scan("reported/")) == 1
    shop.clock.advance(days=41)
    decline(shop, "worse")
    shop.reported()
    shop.steps()
    assert len(shop.state.scan("reported/")) == 1
