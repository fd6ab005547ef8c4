"""The ledger: what was frozen and sent, kept in the journal through a sink's own state.

One scope a Stripe meter. A meter's id pins the account, the mode and the event name, so that
another name of the sink in the YAML finds the same ledger, and another account another one.

    e/<event id>            Link: the intent that bills the event, and those before it
    i/<identifier>          Intent
    o/<customer>            identifier of the customer's open intent: there is at most one
    s/<customer>/<minute>   identifier of the intent that owns this minute
    t/<customer>            Tally: exact usage taken in, and whole units sent
    d/<day>/<customer>      the day has usage that was not compared with Stripe's summaries yet
    c/<time>/<identifier>   look at this slot again, not before
    p/<identifier>          a problem that a person must see, in words
    x/<event id>            Decision: what a person asked for
    m                       MeterRecord
    a/<day>/<customer>      compare this day out of turn, not before the time that is the value
    q/<day>/<customer>      the day differs from Stripe's summaries, in words
    k/<day>/<customer>      a person took the difference of that day for right; see `accepting`
    r/<identifier>          Resolution: what a person says of this intent, and is to be done
    y/<identifier>          Resolution that was carried out
    z/<customer>            something was undone: measure the tally; see `imbalances`

The value of `d/` is empty, or when the day was last compared and differed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final, Literal, TypeVar
from urllib.parse import quote, unquote

import msgspec

from meter_stripe.intents import Intent

if TYPE_CHECKING:
    from meter.sinks import SinkState, StateWrite

__all__ = ["Decision", "Ledger", "Link", "MeterRecord", "Resolution", "Tally", "meter_ids"]

T = TypeVar("T")
PAGE: Final = 1000
_encode: Final = msgspec.json.Encoder(decimal_format="string").encode


class Link(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which intents billed one event.

    Attributes:
        now: the identifier of the one that does; None when the event is free.
        past: identifiers of those that did not last.
        cancelled: a person took the event back: it is never billed again.
    """

    now: str | None = None
    past: tuple[str, ...] = ()
    cancelled: bool = False

    def to(self, identifier: str | None) -> Link:
        """Return the link with another intent."""
        past = self.past if self.now is None or self.now in self.past else (*self.past, self.now)
        return Link(identifier, past, self.cancelled)


class Tally(msgspec.Struct, frozen=True):
    """What was taken in and what was sent for one customer, so that no fraction is lost.

    Attributes:
        used: exact seconds of every event whose intent stands.
        sent: whole units of those intents.
    """

    used: Decimal = Decimal(0)
    sent: int = 0

    def units(self, seconds: Decimal, unit_seconds: int) -> int:
        """Return how many whole units are due once so many seconds are added; never negative."""
        return max(0, int((self.used + seconds) // unit_seconds) - self.sent)

    def plus(self, seconds: Decimal, units: int) -> Tally:
        """Return the tally with an intent added."""
        return Tally(self.used + seconds, self.sent + units)

    def less(self, intent: Intent) -> Tally:
        """Return the tally without an intent that does not stand after all."""
        return Tally(self.used - intent.seconds, self.sent - intent.value)


class Decision(msgspec.Struct, frozen=True):
    """What a person asked for about one event.

    Attributes:
        act: `cancel`: take its usage back. `carry_forward`: bill it under today's date although
            it is late.
    """

    act: Literal["cancel", "carry_forward"]
    who: str
    at: datetime
    reason: str = ""


class Resolution(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a person says of one intent that Stripe's figures do not bear out.

    Attributes:
        act: `counted`: Stripe's figure is right as it is. `missing`: Stripe does not count it,
            and its events are to be billed anew.
        outcome: what came of it; empty until the sink saw to it.
    """

    act: Literal["counted", "missing"]
    who: str
    at: datetime
    reason: str = ""
    outcome: str = ""


class MeterRecord(msgspec.Struct, frozen=True):
    """What is known of the meter that a ledger belongs to, for those who cannot ask Stripe."""

    meter_id: str
    event_name: str
    display_name: str
    mode: str
    unit: str
    customer_key: str
    value_key: str


class Ledger:
    """The ledger of one meter. Reading is at once; writes are made here and committed by others."""

    def __init__(self, state: SinkState, meter_id: str) -> None:
        """Open the scope of a meter; `state` is the sink's own."""
        self.meter_id = meter_id
        self.state = state.scoped(meter_id)

    # -- reading ---------------------------------------------------------------------------

    def links(self, event_ids: Collection[str]) -> dict[str, Link]:
        """Return the links of those events that have one."""
        return self._many("e/", event_ids, Link)

    def intents(self, identifiers: Collection[str]) -> dict[str, Intent]:
        """Return intents by identifier."""
        return self._many("i/", identifiers, Intent)

    def intent(self, identifier: str) -> Intent | None:
        """Return one intent."""
        return self.intents([identifier]).get(identifier)

    def open_intents(self, customers: Collection[str]) -> dict[str, Intent]:
        """Return the open intent of each of these customers that has one."""
        found = self.state.get_many([f"o/{_safe(c)}" for c in customers])
        return {i.customer: i for i in self.intents(set(found.values())).values()}

    def every_open_intent(self) -> Iterator[Intent]:
        """Yield all open intents."""
        yield from self._named(value for _, value in self._scan("o/"))

    def tallies(self, customers: Collection[str]) -> dict[str, Tally]:
        """Return the tallies of those customers that have one."""
        found = self._many("t/", [_safe(c) for c in customers], Tally)
        return {unquote(key): tally for key, tally in found.items()}

    def every_tally(self) -> Iterator[tuple[str, Tally]]:
        """Yield all customers and their tallies, in order."""
        for key, value in self._scan("t/"):
            yield unquote(key), msgspec.json.decode(value, type=Tally)

    def taken(self, customer: str, start: int, end: int) -> dict[int, str]:
        """Return the minutes in [start, end) that have an owner, with its identifier."""
        prefix = f"s/{_safe(customer)}/"
        found: dict[int, str] = {}
        for key, value in self._scan(prefix, f"{prefix}{start - 1:012d}"):
            minute = int(key)
            if minute >= end:
                break
            found[minute] = value
        return found

    def slots(self, customer: str, start: int, end: int) -> Iterator[Intent]:
        """Yield the intents that own a minute in [start, end), in order of time."""
        yield from self._named(self.taken(customer, start, end).values())

    def decisions(self, event_ids: Collection[str]) -> dict[str, Decision]:
        """Return what people asked for about these events."""
        return self._many("x/", event_ids, Decision)

    def unchecked(self, until: str) -> Iterator[tuple[str, str]]:
        """Yield day (YYYY-MM-DD) and customer of what is to be compared, before a day."""
        for key, _ in self._scan("d/"):
            day, _, customer = key.partition("/")
            if day >= until:
                return
            yield day, unquote(customer)

    def checks(self, now: datetime) -> Iterator[tuple[str, Intent]]:
        """Yield the slots that are to be looked at again, with the key of the reminder."""
        for key, _ in self._scan("c/"):
            at, _, identifier = key.partition("/")
            if int(at) > now.timestamp():
                return
            intent = self.intent(identifier)
            if intent is not None:
                yield f"c/{key}", intent

    def problems(self) -> Iterator[tuple[Intent, str]]:
        """Yield what a person must see: the intent, and words."""
        for key, words in self._scan("p/"):
            intent = self.intent(key)
            if intent is not None:
                yield intent, words

    def days(self) -> Iterator[tuple[str, str, str]]:
        """Yield what is to be compared: day, customer, and when it last differed (or nothing)."""
        yield from self._by_day("d/")

    def asked(self) -> Iterator[tuple[str, str, int]]:
        """Yield what is to be compared out of turn: day, customer, not before (unix seconds)."""
        for day, customer, at in self._by_day("a/"):
            yield day, customer, int(at)

    def day_problems(self) -> Iterator[tuple[str, str, str]]:
        """Yield the days that differ: day, customer, words."""
        yield from self._by_day("q/")

    def resolutions(self) -> Iterator[tuple[str, Resolution]]:
        """Yield what people said and the sink has not seen to yet, by identifier."""
        for identifier, value in self._scan("r/"):
            yield identifier, msgspec.json.decode(value, type=Resolution)

    def resolved(self, identifiers: Collection[str]) -> dict[str, Resolution]:
        """Return what people said of these intents, and was carried out."""
        return self._many("y/", identifiers, Resolution)

    def page(self, after: str, limit: int) -> list[Intent]:
        """Return intents in order of their identifiers, beyond one."""
        pairs = self.state.scan("i/", after=f"i/{after}", limit=limit)
        return [msgspec.json.decode(value, type=Intent) for _, value in pairs]

    def record(self) -> MeterRecord | None:
        """Return what is known of the meter."""
        value = self.state.get("m")
        return None if value is None else msgspec.json.decode(value, type=MeterRecord)

    # -- writing ---------------------------------------------------------------------------

    def put(self, intent: Intent) -> list[StateWrite]:
        """Make the writes that store an intent, and keep the index of open ones."""
        key = f"o/{_safe(intent.customer)}"
        index = (
            self.state.put(key, intent.identifier) if intent.unsettled else self.state.delete(key)
        )
        return [self._put(f"i/{intent.identifier}", intent), index]

    def put_aside(self, intent: Intent) -> StateWrite:
        """Make the write that stores an intent which is not the customer's open one."""
        return self._put(f"i/{intent.identifier}", intent)

    def take(self, intent: Intent) -> list[StateWrite]:
        """Make the writes that give an intent its minute, and note the day for comparison."""
        customer = _safe(intent.customer)
        return [
            self.state.put(f"s/{customer}/{intent.minute:012d}", intent.identifier),
            self.compare(intent.slot, intent.customer),
        ]

    def compare(self, moment: datetime, customer: str) -> StateWrite:
        """Make the write that has a customer's day compared with Stripe's summaries."""
        return self.state.put(f"d/{moment.astimezone(UTC):%Y-%m-%d}/{_safe(customer)}", "")

    def compared(self, day: str, customer: str) -> StateWrite:
        """Make the write that ends the comparison of a day."""
        return self.state.delete(f"d/{day}/{_safe(customer)}")

    def check(self, intent: Intent, at: datetime) -> StateWrite:
        """Make the write that has a slot looked at again."""
        return self.state.put(f"c/{int(at.timestamp()):012d}/{intent.identifier}", "")

    def link(self, event_id: str, link: Link) -> StateWrite:
        """Make the write that stores an event's link."""
        return self._put(f"e/{event_id}", link)

    def tally(self, customer: str, tally: Tally) -> StateWrite:
        """Make the write that stores a tally."""
        return self._put(f"t/{_safe(customer)}", tally)

    def decide(self, event_id: str, decision: Decision) -> StateWrite:
        """Make the write that stores what a person asked for."""
        return self._put(f"x/{event_id}", decision)

    def problem(self, identifier: str, words: str | None) -> StateWrite:
        """Make the write that shows a problem, or ends it."""
        key = f"p/{identifier}"
        return self.state.delete(key) if words is None else self.state.put(key, words)

    def look_again(self, day: str, customer: str, at: datetime) -> StateWrite:
        """Make the write that notes when a day was compared and differed."""
        return self.state.put(f"d/{day}/{_safe(customer)}", at.astimezone(UTC).isoformat())

    def ask(self, moment: datetime, customer: str, at: datetime) -> StateWrite:
        """Make the write that has a customer's day compared out of turn, not before a time."""
        key = f"a/{moment.astimezone(UTC):%Y-%m-%d}/{_safe(customer)}"
        return self.state.put(key, str(int(at.timestamp())))

    def answered(self, day: str, customer: str) -> StateWrite:
        """Make the write that ends a comparison out of turn."""
        return self.state.delete(f"a/{day}/{_safe(customer)}")

    def day_problem(self, day: str, customer: str, words: str | None) -> StateWrite:
        """Make the write that shows that a day differs, or ends it."""
        key = f"q/{day}/{_safe(customer)}"
        return self.state.delete(key) if words is None else self.state.put(key, words)

    def resolve(self, identifier: str, resolution: Resolution) -> StateWrite:
        """Make the write that has the sink see to what a person says of an intent."""
        return self._put(f"r/{identifier}", resolution)

    def close_resolution(self, identifier: str, resolution: Resolution) -> list[StateWrite]:
        """Make the writes that keep what a person said, and end it."""
        return [self.state.delete(f"r/{identifier}"), self._put(f"y/{identifier}", resolution)]

    def remember(self, record: MeterRecord) -> StateWrite:
        """Make the write that stores what is known of the meter."""
        return self._put("m", record)

    def _put(self, key: str, value: msgspec.Struct) -> StateWrite:
        return self.state.put(key, _encode(value).decode())

    def _many(self, prefix: str, names: Collection[str], kind: type[T]) -> dict[str, T]:
        if not names:
            return {}
        found = self.state.get_many([prefix + name for name in names])
        return {
            key.removeprefix(prefix): msgspec.json.decode(value, type=kind)
            for key, value in found.items()
        }

    def _by_day(self, prefix: str) -> Iterator[tuple[str, str, str]]:
        for key, value in self._scan(prefix):
            day, _, customer = key.partition("/")
            yield day, unquote(customer), value

    def _named(self, identifiers: Iterable[str]) -> Iterator[Intent]:
        for identifier in identifiers:
            intent = self.intent(identifier)
            if intent is not None:
                yield intent

    def _scan(self, prefix: str, after: str = "") -> Iterator[tuple[str, str]]:
        while pairs := self.state.scan(prefix, after=after, limit=PAGE):
            for key, value in pairs:
                yield key.removeprefix(prefix), value
            after = pairs[-1][0]


def meter_ids(state: SinkState) -> dict[str, str]:
    """Return the meters that a sink has used: event name → meter id, from its own state."""
    return {key.removeprefix("meter/"): value for key, value in state.scan("meter/", limit=PAGE)}


def _safe(customer: str) -> str:
    return quote(customer, safe="")
