"""What an answer makes of an intent, and when an identifier may no longer be sent."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from meter_stripe import proof
from meter_stripe.answers import Answer, Outcome
from meter_stripe.intents import Intent
from meter_stripe.outcomes import answered

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HOURS_23 = timedelta(hours=23)


def intent(**changes: Any) -> Intent:
    given: dict[str, Any] = {
        "identifier": "meter-" + "0" * 32,
        "event_name": "seconds",
        "customer": "cus_1",
        "value": 60,
        "seconds": Decimal(60),
        "minute": int(NOON.timestamp()),
        "events": ("a", "b"),
        "frozen_at": NOON,
        **changes,
    }
    return Intent(**given)


def after(
    outcome: Outcome, *, what: str = "send", before: Intent | None = None, **fields: Any
) -> Intent:
    begun = (before or intent()).begun(NOON)
    return answered(begun, what, Answer(outcome, **fields), NOON + SECOND)


@pytest.mark.parametrize("outcome", [Outcome.DELIVERED, Outcome.DUPLICATE])
@pytest.mark.parametrize("doubtful_since", [None, NOON - timedelta(hours=3)])
def test_what_stripe_has_is_delivered(outcome: Outcome, doubtful_since: datetime | None) -> None:
    found = after(outcome, before=intent(doubtful_since=doubtful_since), status=200)
    assert (found.state, found.next_at, found.in_flight_at) == ("delivered", None, None)
    assert found.arrived_at == NOON + SECOND


def test_a_refusal_of_what_cannot_have_arrived_is_final_and_keeps_stripes_words() -> None:
    found = after(Outcome.REFUSED, status=400, message="No such customer")
    assert (found.state, found.note) == ("rejected", "Stripe: No such customer")


def test_a_refusal_after_a_call_that_may_have_arrived_proves_nothing() -> None:
    before = intent(doubtful_since=NOON - timedelta(hours=1))
    found = after(Outcome.REFUSED, before=before, status=400)
    assert found.state == "open"
    assert found.doubtful_since == before.doubtful_since
    assert found.next_at == NOON + SECOND + timedelta(hours=1)
    assert found.idempotency_key != before.idempotency_key


def test_a_refusal_after_a_crash_proves_nothing_either() -> None:
    crashed = intent().begun(NOON - timedelta(hours=1))
    found = after(Outcome.REFUSED, before=crashed, status=400)
    assert (found.state, found.doubtful_since) == ("open", NOON - timedelta(hours=1))


@pytest.mark.parametrize("outcome", [Outcome.BUSY, Outcome.DENIED])
@pytest.mark.parametrize("what", ["send", "probe", "cancel"])
def test_what_was_not_taken_is_in_no_doubt_and_tried_again(outcome: Outcome, what: str) -> None:
    found = after(outcome, what=what, status=429, retry_after=90)
    assert (found.state, found.doubtful_since) == ("open", None)
    assert found.next_at == NOON + 91 * SECOND
    assert found.idempotency_key == intent().idempotency_key


def test_a_timestamp_ahead_of_stripes_clock_is_in_no_doubt_and_waits_a_minute() -> None:
    found = after(Outcome.EARLY, status=400)
    assert (found.state, found.doubtful_since) == ("open", None)
    assert found.next_at == NOON + 61 * SECOND
    assert found.idempotency_key != intent().idempotency_key


def test_no_answer_is_doubt_since_the_call_began_and_the_idempotency_key_stays() -> None:
    found = after(Outcome.UNKNOWN)
    assert (found.state, found.doubtful_since) == ("open", NOON)
    assert found.idempotency_key == intent().idempotency_key
    assert found.next_at is not None
    assert found.next_at > NOON


def test_a_stored_failure_takes_a_new_idempotency_key_and_the_same_identifier() -> None:
    found = after(Outcome.UNKNOWN, status=500)
    assert found.idempotency_key != intent().idempotency_key
    assert found.identifier == intent().identifier


def test_doubt_begins_with_the_first_call_and_no_later_one_moves_it() -> None:
    first = after(Outcome.UNKNOWN)
    busy = answered(first.begun(NOON + HOURS_23), "send", Answer(Outcome.BUSY), NOON + HOURS_23)
    again = answered(busy.begun(NOON + HOURS_23), "send", Answer(Outcome.UNKNOWN), NOON + HOURS_23)
    assert again.doubtful_since == NOON


def test_waiting_doubles_up_to_ten_minutes() -> None:
    one, waits = intent(), []
    for _ in range(14):
        one = answered(one.begun(NOON), "send", Answer(Outcome.UNKNOWN), NOON)
        assert one.next_at is not None
        waits.append((one.next_at - NOON).total_seconds())
    assert waits == sorted(waits)
    assert waits[0] <= 1
    assert 300 <= waits[-1] <= 600


def test_an_identifier_is_sent_until_23_hours_after_the_doubt_began_and_never_after() -> None:
    doubtful = after(Outcome.UNKNOWN)
    assert not proof.needed(doubtful, NOON + HOURS_23 - SECOND)
    assert proof.needed(doubtful, NOON + HOURS_23)


def test_what_never_left_needs_no_proof_however_old_it_is() -> None:
    busy = after(Outcome.BUSY)
    assert not proof.needed(busy, NOON + timedelta(days=9))


def test_a_call_that_a_crash_interrupted_is_doubtful_from_its_beginning() -> None:
    crashed = intent().begun(NOON)
    taken_up = crashed.interrupted()
    assert (taken_up.doubtful_since, taken_up.in_flight_at) == (NOON, None)
    assert proof.needed(taken_up, NOON + HOURS_23)
    assert crashed.begun(NOON + SECOND).doubtful_since == NOON


def test_a_second_crash_does_not_move_the_doubt() -> None:
    twice = intent().begun(NOON).begun(NOON + timedelta(hours=20)).interrupted()
    assert twice.doubtful_since == NOON


def test_only_open_intents_are_proved() -> None:
    for state in ("delivered", "rejected", "disputed", "cancelling", "cancelled", "reissued"):
        old = intent(state=state, doubtful_since=NOON)
        assert not proof.needed(old, NOON + timedelta(days=9))


def test_a_probe_without_an_answer_is_made_again() -> None:
    found = after(Outcome.UNKNOWN, what="probe")
    assert found.state == "open"
    assert found.next_at is not None


def test_a_probe_that_is_refused_is_a_dispute_for_a_person() -> None:
    found = after(Outcome.REFUSED, what="probe", status=400, message="No such customer")
    assert found.state == "disputed"
    assert "No such customer" in found.note


@pytest.mark.parametrize(
    ("outcome", "message", "state"),
    [
        (Outcome.DELIVERED, "", "cancelled"),
        (Outcome.REFUSED, "it is cancelled already.", "cancelled"),
        (Outcome.REFUSED, "it was received more than 24 hours ago", "delivered"),
        (Outcome.UNKNOWN, "", "cancelling"),
        (Outcome.BUSY, "", "cancelling"),
        (Outcome.DENIED, "", "cancelling"),
    ],
)
def test_what_an_answer_makes_of_a_cancellation(outcome: Outcome, message: str, state: str) -> None:
    found = after(outcome, what="cancel", before=intent(state="cancelling"), message=message)
    assert found.state == state
    assert found.cancel_refused == (state == "delivered")
