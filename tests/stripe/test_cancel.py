"""`meter stripe cancel`: what it takes back, it takes back once, and Stripe's books follow."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from meter.sandbox.stripe_faults import StripePlan
from meter_stripe.cancel_command import cancel
from support.facts import completed
from support.stripe_desk import DeskTill, desk_till

ADJUSTMENTS = "/v1/billing/meter_event_adjustments"


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[DeskTill]:
    with desk_till(tmp_path) as made:
        yield made


def take_back(shop: DeskTill, event_id: str, reason: str = "wrong customer") -> int:
    return cancel(shop.desk(), event_id, reason=reason, yes=True, seconds=5)


def deliver(shop: DeskTill) -> None:
    assert shop.desk().deliver_now()


def use(shop: DeskTill, name: str, seconds: str) -> str:
    event = completed(
        name,
        customer_id="cus_1",
        seconds=Decimal(seconds),
        occurred_at=shop.clock.now() - timedelta(minutes=20),
        recorded_at=shop.clock.now(),
    )
    shop.journal.append([event]).wait()
    return event.event_id


def test_an_event_alone_is_cancelled_by_an_adjustment(
    shop: DeskTill, capsys: pytest.CaptureFixture[str]
) -> None:
    event_id = use(shop, "a", "60")
    deliver(shop)
    assert shop.billed() == 60
    assert take_back(shop, event_id) == 0
    assert shop.billed() == 0
    (event,) = shop.stripe.truth().events
    said = capsys.readouterr().out
    assert "taken back by an adjustment at 2026-11-22T12:00:0" in said
    assert f"Stripe cancelled {event.identifier} (60 seconds of cus_1)" in said
    assert shop.balance.delivered == 1


def test_what_shared_its_meter_event_is_billed_anew(
    shop: DeskTill, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong, right, also_right = (use(shop, name, "60") for name in "abc")
    deliver(shop)
    assert len(shop.stripe.truth().events) == 1
    assert take_back(shop, wrong) == 0
    assert shop.billed() == 120
    assert "2 other events billed anew: meter-" in capsys.readouterr().out
    assert [len(shop.intents(each)) for each in (wrong, right, also_right)] == [1, 2, 2]
    assert shop.balance.delivered == 3


def test_after_a_day_a_negative_event_takes_it_back(
    shop: DeskTill, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong, _right = use(shop, "a", "60"), use(shop, "b", "60")
    deliver(shop)
    shop.later(hours=25)
    assert take_back(shop, wrong) == 0
    assert shop.billed() == 60
    assert [event.value for event in shop.stripe.truth().events] == [120, -60]
    said = capsys.readouterr().out
    assert "1 d ago, too long for a cancellation" in said
    assert "a negative meter event of -60 seconds (60 s exactly) for cus_1" in said


def test_fractions_of_a_second_stay_exact(shop: DeskTill) -> None:
    wrong = use(shop, "a", "0.75")
    use(shop, "b", "0.5")
    deliver(shop)
    assert shop.billed() == 1
    shop.later(hours=25)
    assert take_back(shop, wrong) == 0
    assert shop.billed() == 0
    use(shop, "c", "0.5")
    deliver(shop)
    assert shop.billed() == 1
    (_, tally) = next(shop.ledger.every_tally())
    assert (tally.used, tally.sent) == (Decimal("1.0"), 1)


def test_less_than_a_unit_changes_only_the_remainder(
    shop: DeskTill, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = use(shop, "a", "0.25")
    deliver(shop)
    assert take_back(shop, wrong) == 0
    assert shop.stripe.truth().events == ()
    assert "0.25 s less in the remainder of cus_1" in capsys.readouterr().out


def test_a_second_time_changes_nothing(shop: DeskTill, capsys: pytest.CaptureFixture[str]) -> None:
    event_id = use(shop, "a", "60")
    deliver(shop)
    for _ in range(2):
        assert take_back(shop, event_id) == 0
    said = capsys.readouterr().out
    assert "taken back already, by " in said
    assert "the reason that you give now (wrong customer) is not kept" in said
    assert len(shop.stripe.truth().events) == 1
    assert shop.billed() == 0


def test_what_is_not_sent_is_refused_with_what_to_do(
    shop: DeskTill, capsys: pytest.CaptureFixture[str]
) -> None:
    sent = use(shop, "a", "60")
    deliver(shop)
    waiting = use(shop, "b", "60")
    assert take_back(shop, waiting) == 1
    assert "it is not sent yet" in (said := capsys.readouterr().err)
    assert "meter stripe flush" in said
    assert take_back(shop, "assemblyai:transcript:nobody") == 1
    assert "the journal has no such event" in capsys.readouterr().err
    assert shop.billed() == 60
    assert shop.ledger.decisions([sent, waiting]) == {}


def test_a_dead_letter_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with desk_till(tmp_path, rules={"unknown_customers": "refused"}) as shop:
        event_id = use(shop, "a", "60")
        deliver(shop)
        assert shop.place(event_id)[0] == "dead"
        assert take_back(shop, event_id) == 1
        assert "Stripe refused it, so that nothing bills it" in capsys.readouterr().err


def test_stripe_refusing_the_adjustment_leads_to_a_negative_event(shop: DeskTill) -> None:
    event_id = use(shop, "a", "60")
    deliver(shop)
    shop.plan(StripePlan(status=400, recorded=False), path=ADJUSTMENTS)
    assert take_back(shop, event_id) == 0
    assert [event.value for event in shop.stripe.truth().events] == [60, -60]
    assert shop.billed() == 0


def test_a_lost_answer_is_asked_again(shop: DeskTill) -> None:
    event_id = use(shop, "a", "60")
    deliver(shop)
    shop.plan(StripePlan(lost="response"), path=ADJUSTMENTS)
    assert take_back(shop, event_id) == 0
    assert shop.billed() == 0
    assert len(shop.stripe.truth().events) == 1


def test_what_is_older_than_stripe_takes_is_refused(
    shop: DeskTill, capsys: pytest.CaptureFixture[str]
) -> None:
    event_id = use(shop, "a", "60")
    deliver(shop)
    shop.later(days=36)
    assert take_back(shop, event_id) == 1
    assert "write a credit note" in capsys.readouterr().err


def test_a_final_invoice_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with desk_till(tmp_path, period_day=1) as shop:
        event_id = use(shop, "a", "60")
        deliver(shop)
        shop.later(days=12)
        assert take_back(shop, event_id) == 0
    said = capsys.readouterr().out
    assert "the invoice of its period is final" in said
    assert "Write a credit note" in said


def test_who_asked_when_and_why_is_recorded(shop: DeskTill) -> None:
    event_id = use(shop, "a", "60")
    deliver(shop)
    take_back(shop, event_id, "a demo")
    decision = shop.ledger.decisions([event_id])[event_id]
    assert (decision.act, decision.reason) == ("cancel", "a demo")
    assert decision.who
    told = "\n".join(shop.unopened().explain(event_id))
    assert f"taken back, and never billed again, asked for by {decision.who} at 2026-" in told
    assert told.splitlines()[0].endswith("Z: a demo")
    assert told.count("taken back") == 1


def test_what_was_billed_nothing_leaves_the_others_alone(
    shop: DeskTill, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing, little = use(shop, "a", "0"), use(shop, "b", "0.25")
    use(shop, "c", "60.5")
    deliver(shop)
    assert take_back(shop, nothing) == 1
    assert "it was billed nothing: it has 0 s" in capsys.readouterr().err
    assert take_back(shop, little) == 1
    said = capsys.readouterr().err
    assert "it was billed nothing: without its 0.25 s there is no second less" in said
    assert "From 2026-11-23T11:00:0" in said
    assert shop.ledger.decisions([nothing, little]) == {}
    assert [event.value for event in shop.stripe.truth().events] == [60]
    shop.later(hours=23, minutes=1)
    assert take_back(shop, little) == 0
    assert [event.value for event in shop.stripe.truth().events] == [60]
    (_, tally) = next(shop.ledger.every_tally())
    assert (tally.used, tally.sent) == (Decimal("60.5"), 60)


def test_a_fraction_that_made_a_unit_is_taken_back(shop: DeskTill) -> None:
    little = use(shop, "a", "0.25")
    use(shop, "b", "59.75")
    deliver(shop)
    assert take_back(shop, little) == 0
    assert shop.billed() == 59


def test_usage_of_the_future_says_until_when_it_waits(
    shop: DeskTill, capsys: pytest.CaptureFixture[str]
) -> None:
    event_id = shop.use("ahead", ago=-timedelta(days=3))
    for _ in range(2):
        assert take_back(shop, event_id) == 1
        said = capsys.readouterr().err
        assert "it is not sent yet, and waits until 2026-11-25T12:00:0" in said
        assert "flush" not in said
        shop.desk().deliver_now()


def test_a_wrong_id_leads_to_the_right_one(
    shop: DeskTill, capsys: pytest.CaptureFixture[str]
) -> None:
    event_id = use(shop, "a", "60")
    assert take_back(shop, "a") == 1
    assert f"did you mean {event_id}?" in capsys.readouterr().err
