"""What the sink says of itself: `meter status`, `meter events` and `meter check --connect`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from meter.errors import SinkError
from meter.sandbox.stripe_faults import StripeFaults, StripePlan
from meter.sandbox.stripe_keys import StripeKey
from meter_stripe.ledger import Decision, Resolution
from support.facts import completed
from support.stripe_till import Till, till


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Till]:
    with till(tmp_path) as made:
        yield made


def status(shop: Till) -> str:
    return "\n".join(shop.unopened().status())


def explained(shop: Till, reference: str) -> str:
    return "\n".join(shop.unopened().explain(reference))


def readable(text: str) -> None:
    for ugly in ("Decimal", "datetime", "E+", "None", "Intent(", "sk_test", "{"):
        assert ugly not in text


# -- meter status ----------------------------------------------------------------------------------


def test_a_sink_that_never_ran_says_so(shop: Till) -> None:
    assert "not opened yet" in status(shop)


def test_mode_and_meters_are_said(shop: Till) -> None:
    shop.sent("a")
    said = status(shop)
    assert "seconds: test mode, counts in units of one second, mtr_" in said
    assert len(said.splitlines()) == 1
    readable(said)


def test_intents_without_an_answer_are_counted_with_their_age(shop: Till) -> None:
    shop.sent("a")
    shop.stripe.faults = StripeFaults(response_lost=1.0, paths=("/v1/billing/meter_events",))
    shop.use("b", ago=timedelta(minutes=1))
    shop.steps(3)
    shop.clock.advance(hours=3)
    said = status(shop)
    assert "1 meter event without a final answer, the oldest 3 h old (meter-" in said
    assert "it goes on by itself" in said


def test_a_dispute_has_a_way_out(shop: Till) -> None:
    (event_id,) = shop.sent("a")
    (intent,) = shop.intents(event_id)
    words = "60 was sent and Stripe counts 120 in that minute"
    shop.commit(
        [
            *shop.ledger.put(intent.changed(state="disputed", note=words)),
            shop.ledger.problem(intent.identifier, words),
        ]
    )
    said = status(shop)
    assert words in said
    assert f"`meter stripe resolve {intent.identifier} --as counted` or `--as missing`" in said
    readable(said)


def test_what_a_person_said_is_shown_until_it_is_seen_to(shop: Till) -> None:
    (event_id,) = shop.sent("a")
    (intent,) = shop.intents(event_id)
    said = Resolution("counted", "anna", shop.clock.now(), "seen")
    shop.commit([shop.ledger.resolve(intent.identifier, said)])
    assert "is to be resolved as counted, asked for by anna" in status(shop)


def test_trouble_with_the_customers_file_lasts_as_long_as_it_does(tmp_path: Path) -> None:
    mapping = tmp_path / "customers.yaml"
    mapping.write_text("acme: cus_1\n")
    with till(tmp_path, customers={"file": mapping}) as shop:
        shop.steps(2)
        mapping.unlink()
        shop.steps(3)
        assert "there is no customers file" in status(shop)
        assert "what was known before stays in use" in status(shop)
        mapping.write_text("acme: cus_1\nbeta: cus_2\n")
        shop.steps(3)
        assert "customers file" not in status(shop)


def test_a_difference_that_the_audit_found_is_shown(shop: Till) -> None:
    (event_id,) = shop.sent("a")
    shop.lose(event_id)
    shop.until(hour=3)
    shop.steps(20)
    said = status(shop)
    assert "counts none of it" in said
    assert "meter stripe resolve" in said


def test_unsent_usage_warns_before_its_invoice_is_final(tmp_path: Path) -> None:
    mapping = tmp_path / "customers.yaml"
    mapping.write_text("acme: cus_1\n")
    with till(tmp_path, customers={"file": mapping}, period_day=23) as shop:
        event_id = shop.use("a", customer="nobody")
        shop.steps(2)
        assert f"({event_id}), " in status(shop)
        assert "WARNING" not in status(shop)
        shop.until(hour=0, minute=30)
        said = status(shop)
        assert f"({event_id}); it is of the period up to 2026-11-23" in said
        assert "whose invoice is final at 2026-11-23T01:00:00Z" in said
        shop.until(hour=2)
        shop.steps(2)
        assert "it is late: the invoice of its period (up to 2026-11-23) is final" in status(shop)
        assert "`meter stripe carry-forward` bills it under today's date" in status(shop)
        mapping.write_text("nobody: cus_1\n")
        shop.clock.advance(hours=1)
        shop.steps(3)


def test_unsent_usage_is_forgotten_once_it_is_sent(tmp_path: Path) -> None:
    mapping = tmp_path / "customers.yaml"
    mapping.write_text("acme: cus_1\n")
    with till(tmp_path, customers={"file": mapping}) as shop:
        shop.use("a", customer="nobody", ago=timedelta(minutes=5))
        shop.use("b", customer="nobody", ago=timedelta(minutes=9))
        shop.steps(2)
        assert "is of 2026-11-22T11:51:00Z" in status(shop)
        mapping.write_text("nobody: cus_1\n")
        shop.steps(4)
        assert shop.billed() == 120
        assert "not sent" not in status(shop)


# -- meter events ----------------------------------------------------------------------------------


def test_an_event_leads_to_its_intent_with_every_call(shop: Till) -> None:
    shop.sent("first")
    shop.plan(StripePlan(status=500, recorded=False))
    event_id = shop.use("a", ago=timedelta(minutes=5))
    other = shop.use("b", ago=timedelta(minutes=5))
    shop.steps(12)
    (intent,) = shop.intents(event_id)
    said = explained(shop, event_id)
    assert f"seconds: billed by the meter event {intent.identifier}" in said
    assert "120 seconds (120 s exactly) of cus_1 on seconds, in the minute 2026-11-22T11:5" in said
    assert "delivered: Stripe has it" in said
    assert "generation 1" in said
    assert "send: unknown 500 (req_" in said
    assert "send: delivered 200 (req_" in said
    assert "it also bills 1 other event" in said
    readable(said)
    back = explained(shop, intent.identifier)
    assert event_id in back
    assert other in back
    assert "it covers 2 events:" in back


def test_nobody_knows_a_stranger(shop: Till) -> None:
    shop.sent("a")
    assert shop.unopened().explain("assemblyai:transcript:stranger") == []


def test_every_generation_is_told(tmp_path: Path) -> None:
    with till(tmp_path, rules={"unknown_customers": "refused"}) as shop:
        event_id = shop.use("a")
        shop.steps(2)
        assert "refused by Stripe: it bills nothing" in explained(shop, event_id)
        shop.redrive()
        shop.clock.advance(minutes=2)
        shop.steps(2)
        first, second = shop.intents(event_id)
        said = explained(shop, event_id)
        assert said.index(second.identifier) < said.index(first.identifier)
        assert "bills" not in said.replace("it bills nothing", "")
        assert "generation 2" in said
        assert "No such customer" in said


def test_units_that_are_not_the_seconds_of_its_events_are_explained(shop: Till) -> None:
    def of(name: str, seconds: str) -> str:
        event = completed(
            name,
            customer_id="cus_1",
            seconds=Decimal(seconds),
            occurred_at=shop.clock.now(),
            recorded_at=shop.clock.now(),
        )
        shop.journal.append([event]).wait()
        shop.steps(2)
        shop.clock.advance(minutes=2)
        return explained(shop, event.event_id)

    kept = "(60.6 s exactly; what makes no whole second is kept for the next meter event) of cus_1"
    assert f"60 seconds {kept}" in of("a", "60.6")
    assert "88 seconds (87.5 s exactly, with what was left over from before) of" in of("b", "87.5")


def test_what_a_refused_meter_event_was_to_bill_is_told_as_past(tmp_path: Path) -> None:
    with till(tmp_path, rules={"unknown_customers": "refused"}) as shop:
        one, _two = (shop.use(name, ago=timedelta(minutes=5)) for name in "ab")
        shop.steps(2)
        said = explained(shop, one)
        assert "refused by Stripe: it bills nothing" in said
        assert "it was also to bill 1 other event" in said
        (intent,) = shop.intents(one)
        assert "it was to cover 2 events:" in explained(shop, intent.identifier)


def test_what_is_asked_for_is_told_in_its_tense(tmp_path: Path) -> None:
    with till(tmp_path) as shop:
        late = shop.use("late", ago=timedelta(days=40))
        shop.steps(2)
        asked = Decision("carry_forward", "anna", shop.clock.now(), "agreed")
        shop.commit([shop.ledger.decide(late, asked)])
        assert "seconds: to be billed under today's date, asked for by anna" in explained(
            shop, late
        )
        shop.journal.exceptions.hasten("billing", shop.clock.now(), ["held"]).wait()
        shop.steps(2)
        assert "seconds: billed under the date of sending, asked for by anna" in explained(
            shop, late
        )
        assert "to be billed" not in explained(shop, late)


# -- meter check --connect -------------------------------------------------------------------------


def test_check_says_what_the_key_opens(shop: Till) -> None:
    shop.sent("a")
    said = "\n".join(shop.unopened().check())
    assert "test mode: no money, a secret key" in said
    assert "meter seconds: active, sums up, in units of one second (mtr_" in said
    assert "each customer_id is taken for Stripe's own id" in said
    assert "error reports are taken at /webhooks/stripe" in said
    readable(said)


def test_check_changes_nothing(shop: Till) -> None:
    shop.sent("a")
    shop.unopened().check()
    assert {r.method for r in shop.stripe.requests[-1:]} == {"GET"}


def test_check_names_a_missing_meter_and_what_makes_it(tmp_path: Path) -> None:
    missing = pytest.raises(SinkError, match="`meter stripe setup --apply` makes it")
    with till(tmp_path, create_missing=False) as shop, missing:
        shop.unopened().check()


def test_check_tells_each_thing_that_is_wrong_on_a_line_of_its_own(tmp_path: Path) -> None:
    nowhere = {"file": tmp_path / "customers.yaml"}
    with till(tmp_path, create_missing=False, customers=nowhere) as shop:
        with pytest.raises(SinkError) as caught:
            shop.unopened().check()
        first, second = str(caught.value).splitlines()
    assert "`meter stripe setup --apply` makes it" in first
    assert "there is no customers file" in second


def test_check_counts_the_customers(tmp_path: Path) -> None:
    mapping = tmp_path / "customers.yaml"
    mapping.write_text("acme: cus_1\nbeta: cus_2\n")
    with till(tmp_path, customers={"file": mapping}) as shop:
        assert "customers: 2 customers by customers.yaml" in shop.unopened().check()
        mapping.unlink()
        with pytest.raises(SinkError, match="there is no customers file"):
            shop.unopened().check()


def test_check_says_that_a_live_key_goes_to_a_program_of_this_machine(tmp_path: Path) -> None:
    key, here = "rk_live_Whole51Secret0Key", "http://127.0.0.1:9"
    with till(tmp_path, api_key=key, base_url=here) as shop:
        said = "\n".join(shop.unopened().check())
        assert f"live mode: real money, a restricted key, at {here}" in said
        assert "warning: a live key is sent to a program on this machine" in said
        assert key not in said


def test_check_says_that_the_mode_changed(tmp_path: Path) -> None:
    with till(tmp_path) as shop:
        shop.sent("a")
    with till(tmp_path, api_key="sk_live_Whole51Secret0Key") as shop:
        said = "\n".join(shop.unopened().check())
        assert "seconds was billed in test mode until now, and the key is for live mode" in said


def test_check_names_the_permission_that_is_missing(tmp_path: Path) -> None:
    with till(tmp_path) as shop:
        shop.stripe._keys._keys["sk_test_till"] = StripeKey(permissions=frozenset())
        with pytest.raises(SinkError, match="rak_billing_meter_read") as caught:
            shop.unopened().check()
        assert "sk_test_till" not in str(caught.value)


def test_a_key_that_is_none_is_said_without_showing_it(tmp_path: Path) -> None:
    with till(tmp_path, api_key="pk_live_Whole51Secret0Key") as shop:
        with pytest.raises(SinkError, match="is no key of Stripe's API") as caught:
            shop.unopened().check()
        assert "Whole51" not in str(caught.value)


def test_commands_status_and_events_need_no_key(tmp_path: Path) -> None:
    with till(tmp_path) as shop:
        (event_id,) = shop.sent("a")
    with till(tmp_path, api_key="(not set: STRIPE_API_KEY)") as shop:
        assert "test mode" in status(shop)
        assert "delivered: Stripe has it" in explained(shop, event_id)
