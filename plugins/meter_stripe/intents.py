"""Intents: what is to be sent to Stripe, frozen together with the events that it bills."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from meter.events import format_time

if TYPE_CHECKING:
    from meter_stripe.answers import Answer

__all__ = ["Attempt", "Intent", "State", "identifier_for", "minute_of"]

State = Literal[
    "open", "delivered", "rejected", "disputed", "cancelling", "cancelled", "reissued", "absorbed"
]
"""open: frozen, and Stripe's answer is not known to be final. delivered: Stripe has it. rejected:
refused for good. disputed: Stripe counts something else, and a person must look. cancelling and
cancelled: taken back by an adjustment. reissued: never arrived; a later generation took its slot.
absorbed: less than one unit, so that nothing is sent; it stays in the remainder."""

HISTORY: Final = 12
"""How many attempts are kept in full: the first few and the latest."""
FIRST: Final = 3


class Attempt(msgspec.Struct, frozen=True, omit_defaults=True):
    """One call, and what came of it, for people.

    Attributes:
        at: when it was answered, or given up.
        what: `send`, `probe`, `cancel`, `report` (Stripe's) or `resolve` (a person's).
        outcome: in one word.
    """

    at: datetime
    what: str
    outcome: str
    status: int | None = None
    message: str = ""
    request_id: str | None = None


class Intent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One meter event to be. Never planned again, and its payload never computed again.

    Attributes:
        identifier: Stripe's `identifier`, from `identifier_for`.
        event_name, customer: the meter's event name, and the Stripe customer's id.
        value: whole units on the wire; negative on a correction.
        seconds: the exact usage of the events it covers.
        minute: the start of its slot, unix seconds: its timestamp, and nobody else's.
        generation: 1, or one more than that of what it replaces.
        events: the ids of the events that it bills.
        kind: `usage`; `correction` of one event that is to be taken back; or `true_up`, which
            evens out what undone intents left, and bills no event.
        carried: stamped with today's date by `late: carry_forward`.
        replaces: the identifier of the generation before, in the same slot.
        takes_from: the identifier of what a correction takes something back from.
        frozen_at: when it was made.
        in_flight_at: when the latest call began whose answer is not recorded.
        doubtful_since: when the first call began that may have arrived and was not answered.
        arrived_at: when Stripe said that it has it.
        attempts: how many calls were begun.
        answers: how many answers came that Stripe stores under an Idempotency-Key.
        next_at: not before.
        empty_since: when a probe first found the slot empty, after the last call.
        cancel_refused: Stripe would not cancel it: only a negative event takes it back.
        note: what a person should know.
        history: calls, the first few and the latest.
    """

    identifier: str
    event_name: str
    customer: str
    value: int
    seconds: Decimal
    minute: int
    events: tuple[str, ...]
    frozen_at: datetime
    generation: int = 1
    kind: Literal["usage", "correction", "true_up"] = "usage"
    carried: bool = False
    replaces: str | None = None
    takes_from: str | None = None
    state: State = "open"
    in_flight_at: datetime | None = None
    doubtful_since: datetime | None = None
    arrived_at: datetime | None = None
    attempts: int = 0
    answers: int = 0
    next_at: datetime | None = None
    empty_since: datetime | None = None
    cancel_refused: bool = False
    note: str = ""
    history: tuple[Attempt, ...] = ()

    @property
    def idempotency_key(self) -> str:
        """The key of the next call: the same after a lost answer, a new one after a stored one."""
        return f"{self.identifier}-{self.answers}"

    @property
    def slot(self) -> datetime:
        """The start of its minute, UTC."""
        return datetime.fromtimestamp(self.minute, UTC)

    @property
    def unsettled(self) -> bool:
        """Whether something is still to be done about it."""
        return self.state in ("open", "cancelling")

    def interrupted(self) -> Intent:
        """Return it as the next one to hold it must: a call that nobody heard of is doubtful."""
        if self.in_flight_at is None:
            return self
        return msgspec.structs.replace(
            self, doubtful_since=self.doubtful_since or self.in_flight_at, in_flight_at=None
        )

    def begun(self, now: datetime) -> Intent:
        """Return it with a call under way; a call before it that was never answered is doubtful."""
        return msgspec.structs.replace(
            self.interrupted(), in_flight_at=now, attempts=self.attempts + 1
        )

    def noted(self, what: str, outcome: str, now: datetime, answer: Answer | None = None) -> Intent:
        """Return it with one more call in its history."""
        attempt = Attempt(now, what, outcome)
        if answer is not None:
            attempt = Attempt(
                now, what, outcome, answer.status, answer.message[:300], answer.request_id
            )
        history = (*self.history, attempt)
        if len(history) > HISTORY:
            history = (*history[:FIRST], *history[FIRST + 1 :])
        return msgspec.structs.replace(self, history=history, in_flight_at=None)

    def changed(self, **changes: object) -> Intent:
        """Return it with other values."""
        return msgspec.structs.replace(self, **changes)

    def waits(self, now: datetime, seconds: float) -> Intent:
        """Return it with the time of its next call."""
        return msgspec.structs.replace(self, next_at=now + timedelta(seconds=seconds))


def identifier_for(
    scope: tuple[str, ...], *, events: Iterable[str], value: int, generation: int
) -> str:
    """Derive an identifier from what it bills (reference: stripe.md §5.3); 38 characters.

    The same content always has the same identifier, so that a ledger that lost its latest writes
    cannot bill again within Stripe's day; any other content has another one.

    Args:
        scope: names of the ledger, the mode, the meter, the customer and the kind.
        events: the ids of the events that it bills, in order.
        value: whole units.
        generation: which attempt at billing them.
    """
    digest = hashlib.blake2b(digest_size=16)
    for part in (str(len(scope)), *scope, str(value), str(generation), *events):
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(b"%d:" % len(encoded))
        digest.update(encoded)
    return f"meter-{digest.hexdigest()}"


def minute_of(moment: datetime) -> int:
    """Return the start of a moment's minute, unix seconds."""
    seconds = int(moment.timestamp())
    return seconds - seconds % 60


def shown(moment: datetime | None) -> str:
    """Write a time for people: UTC, to the second."""
    return "never" if moment is None else f"{format_time(moment)[:19]}Z"
