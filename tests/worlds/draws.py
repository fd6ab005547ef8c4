"""What a world is: everything in it is drawn from its number, before it begins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any, Final, Literal

from meter.events import AsyncCompleted, StreamTerminated

Usage = AsyncCompleted | StreamTerminated

UNIT_SECONDS: Final = {"second": 1, "minute": 60, "hour": 3600}
MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
MODELS: Final = ("universal", "nano")
NAMES: Final = ("acme", "Zoë & Söhne", "株式会社", "o'hara/1", "beta-7", "x" * 60)


@dataclass(frozen=True, slots=True)
class Customer:
    """One customer of meter's.

    Attributes:
        stripe_id: several may have the same one.
        mapped_at: seconds from the start until the customers file has a line for it.
    """

    customer_id: str
    stripe_id: str
    mapped_at: float = 0.0


@dataclass(frozen=True, slots=True)
class MeterDraw:
    event_name: str
    unit: str
    kinds: tuple[str, ...]
    models: tuple[str, ...] | None = None

    def takes(self, event: Usage) -> bool:
        return event.kind in self.kinds and (self.models is None or event.model in self.models)

    @property
    def unit_seconds(self) -> int:
        return UNIT_SECONDS[self.unit]


@dataclass(frozen=True, slots=True)
class Episode:
    """Stripe behaves so for a while; a `key` episode ends when somebody puts the key right."""

    begin: float
    end: float
    kind: str
    faults: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Happening:
    """What somebody does: `stop`, `rename`, `flush`, `recall`, `cancel`, `skew`, `archive`,
    `restore`.

    `amount`: seconds of downtime, or by which the clock is off from now on.
    """

    at: float
    kind: str
    amount: float = 0.0


@dataclass(frozen=True, slots=True)
class World:
    """One world. Times are seconds from `start`; all trouble ends at `trouble_ends`."""

    number: int
    start: datetime
    customers: tuple[Customer, ...]
    meters: tuple[MeterDraw, ...]
    usage: tuple[tuple[float, Usage], ...]
    episodes: tuple[Episode, ...]
    happenings: tuple[Happening, ...]
    shares: Mapping[str, float]
    crash_share: float
    crash_step: int | None
    """Also crash at this very step, whatever it is."""
    latency: float
    lag_seconds: float
    report_lag_seconds: float | None
    """Some meter events are taken, never counted, and reported so much later; None: no such."""
    late: Literal["hold", "carry_forward"] | None
    mapping: Literal["passthrough", "file"]
    api: Literal["v1", "v2"]
    honest_limits: bool
    trouble_ends: float
    options: Mapping[str, Any] = field(default_factory=dict)


def draw_world(number: int) -> World:
    """Draw a world; each aspect has a chance of its own, so that none disturbs another."""
    kind = Random(f"{number}/kind")
    long_outage = kind.random() < 0.18
    late: Literal["hold", "carry_forward"] | None = None
    if kind.random() < 0.15:
        late = "hold" if kind.random() < 0.6 else "carry_forward"
    span = kind.choice((0.3, 0.7, 1.0, 1.5, 2.5, 4.0)) * DAY
    start = datetime(2026, 10, 31, tzinfo=UTC) + timedelta(seconds=kind.uniform(-2.5, 1) * DAY)
    mapping: Literal["passthrough", "file"] = kind.choice(("passthrough", "file", "file"))
    customers = _customers(Random(f"{number}/customers"), span, mapping, few=long_outage)
    meters = _meters(Random(f"{number}/meters"), few=long_outage)
    usage = _usage(Random(f"{number}/usage"), number, start, span, customers, late is not None)
    trouble = Random(f"{number}/trouble")
    lag = trouble.choice((0.0, 0.0, 60.0, 300.0, 900.0, 1800.0))
    if trouble.random() < 0.06:
        lag = trouble.uniform(2, 6) * HOUR
    episodes = _episodes(trouble, span, long_outage=long_outage)
    if long_outage and trouble.random() < 0.3:
        # What is sent in the last hour in which that is safe arrives, and no summary shows it in
        # time: the proof fails, and only the look after a re-issue can find it out.
        lag = trouble.choice((0.7, 2, 4)) * trouble.uniform(0.5, 1.3) * HOUR
        episodes = _late_arrival(trouble, usage)
    lasting = trouble.choice((0.0, 0.0, 5.0, 30.0)) * HOUR
    happenings = _happenings(Random(f"{number}/happenings"), span)
    happenings += _cancellations(Random(f"{number}/cancel"), span)
    ends = lasting + max(
        [
            span,
            *(h.at for h in happenings),
            *(e.end for e in episodes),
            *(c.mapped_at for c in customers),
        ]
    )
    shares = _shares(Random(f"{number}/shares"))
    reported: float | None = None
    if trouble.random() < 0.15:
        reported = trouble.choice((60.0, 600.0, 5000.0, 90_000.0))
        shares["rejected_later"] = trouble.choice((0.02, 0.1, 0.4))
    return World(
        number=number,
        start=start,
        customers=customers,
        meters=meters,
        usage=usage,
        episodes=episodes,
        happenings=tuple(sorted(happenings, key=lambda h: h.at)),
        shares=shares,
        crash_share=kind.choice((0.0, 0.0, 0.003, 0.01, 0.03, 0.06)),
        crash_step=kind.randrange(120) if kind.random() < 0.6 else None,
        latency=kind.choice((0.0, 0.05, 0.3, 2.0)),
        lag_seconds=lag,
        report_lag_seconds=reported,
        late=late,
        mapping=mapping,
        api="v2" if kind.random() < 0.2 else "v1",
        honest_limits=kind.random() < 0.3,
        trouble_ends=ends,
        options=_period(late, kind),
    )


def _period(late: str | None, kind: Random) -> dict[str, Any]:
    if late is None:
        return {"period_day": "none"}
    day: int | str = kind.choice((1, 1, 31 - 3, "none"))
    return {"period_day": day, "late": late, "invoice_grace": kind.choice(("1h", "12h", "72h"))}


def _customers(chance: Random, span: float, mapping: str, *, few: bool) -> tuple[Customer, ...]:
    count = chance.choice((1, 1, 2)) if few else chance.choice((1, 2, 2, 3, 4, 6))
    if mapping == "passthrough":
        return tuple(Customer(f"cus_w{n}", f"cus_w{n}") for n in range(count))
    shared = chance.random() < 0.15
    return tuple(
        Customer(
            NAMES[n],
            f"cus_w{0 if shared else n}",
            chance.uniform(0, span * 1.2) if chance.random() < 0.2 else 0.0,
        )
        for n in range(count)
    )


def _meters(chance: Random, *, few: bool) -> tuple[MeterDraw, ...]:
    def unit() -> str:
        return chance.choice(("second", "second", "minute", "hour"))

    both = ("async_completed", "stream_terminated")
    shape = chance.random()
    if few or shape < 0.35:
        return (MeterDraw("all_usage", unit(), both),)
    if shape < 0.65:
        return (MeterDraw("jobs", unit(), both[:1]), MeterDraw("streams", unit(), both[1:]))
    if shape < 0.85:  # every event is on two meters
        return (MeterDraw("in_seconds", "second", both), MeterDraw("in_units", unit(), both))
    by_model = tuple(MeterDraw(f"model_{m}", unit(), both, (m,)) for m in MODELS)
    return (*by_model, MeterDraw("all_usage", unit(), both))


def _usage(
    chance: Random,
    number: int,
    start: datetime,
    span: float,
    customers: tuple[Customer, ...],
    lateness: bool,  # noqa: FBT001  because it is passed on once, by the drawing above
) -> tuple[tuple[float, Usage], ...]:
    """Draw when each event reaches the journal, and what it says."""
    fractional, dense = chance.random() < 0.6, chance.random() < 0.25
    arrivals: list[float] = []
    for _ in range(chance.randint(3, 14)):  # bursts: many at once, or over minutes
        begin, length = chance.uniform(0, span), chance.choice((0.5, 20.0, 200.0, 4000.0))
        arrivals += [begin + chance.uniform(0, length) for _ in range(chance.randint(1, 9))]
    if dense:  # one customer uses it every few seconds, for an hour
        begin = chance.uniform(0, span)
        arrivals += [begin + chance.uniform(0, HOUR) for _ in range(50)]
    border = _borders(start, span)
    arrivals += [b + chance.choice((-1.0, 0.0, 0.5, 61.0)) for b in border if chance.random() < 0.3]
    made: list[tuple[float, Usage]] = []
    for place, at in enumerate(sorted(max(0.0, a) for a in arrivals)):
        occurred = at - _age(chance, lateness=lateness)
        if chance.random() < 0.08 and border:
            near = [b for b in border if b <= at] or [0.0]
            occurred = near[-1] + chance.choice((-1.0, -0.001, 0.0))
        made.append(
            (at, _event(chance, f"w{number}-{place}", start, occurred, customers, fractional))
        )
    return tuple(made)


def _age(chance: Random, *, lateness: bool) -> float:
    """Return how old usage is when the journal hears of it, in seconds."""
    draw = chance.random()
    if draw < 0.7:
        return chance.uniform(0, 90)
    if draw < 0.72:
        return -chance.uniform(0, 30)  # the provider's clock is ahead
    if draw < 0.9:
        return chance.uniform(0, 3 * HOUR)
    if lateness and draw > 0.96:
        return chance.uniform(20, 40) * DAY
    return chance.uniform(0, 5) * DAY


def _borders(start: datetime, span: float) -> list[float]:
    """Return some hour borders, every day border and so every month border of the span."""
    first = 3600 - (start.minute * 60 + start.second + start.microsecond / 1e6)
    hours = [first + 3600 * n for n in range(int(span / 3600))]
    midnights = [h for h in hours if (start + timedelta(seconds=h + 1)).hour == 0]
    return sorted({*hours[::7], *midnights})


def _event(
    chance: Random,
    name: str,
    start: datetime,
    occurred: float,
    customers: tuple[Customer, ...],
    fractional: bool,  # noqa: FBT001  because it is passed on once, by the drawing above
) -> Usage:
    customer = chance.choice(customers)
    size = chance.choice((1, 60, 600, 600, 3600, 40_000))
    seconds = (
        Decimal(chance.randint(0, size * 1000)).scaleb(-3)
        if fractional
        else Decimal(chance.randint(0, size))
    )
    if chance.random() < 0.03:
        seconds = Decimal(0)
    kind: type[Usage] = AsyncCompleted if chance.random() < 0.6 else StreamTerminated
    at = (
        (start + timedelta(seconds=occurred)).replace(microsecond=0)
        if chance.random() < 0.3
        else (start + timedelta(seconds=occurred))
    )
    return kind(
        provider_id=name,
        customer_id=customer.customer_id,
        collector="transcripts",
        occurred_at=at,
        recorded_at=at,
        seconds=seconds,
        model=chance.choice(MODELS),
    )


_WHOLE: Final[Mapping[str, Mapping[str, Any]]] = {
    "no way in": {"request_lost": 1.0},
    "no way back": {"response_lost": 1.0},
    "malformed": {"malformed": 1.0},
    "500": {"server_error": 1.0},
    "500 recorded": {"server_error_recorded": 1.0},
    "503": {"unavailable": 1.0},
    "429": {"rate_limited": 1.0},
    "409": {"conflict": 1.0},
    "bad day": {"request_lost": 0.3, "response_lost": 0.3, "server_error_recorded": 0.2},
    "key": {"unauthorized": 1.0},
}


def _episodes(chance: Random, span: float, *, long_outage: bool) -> tuple[Episode, ...]:
    made = []
    for _ in range(chance.choice((0, 1, 1, 2, 3))):
        kind = chance.choice(tuple(_WHOLE))
        begin = chance.uniform(0, span)
        length = chance.choice((60.0, 600.0, HOUR, 2 * HOUR))
        made.append(_episode(chance, kind, begin, chance.uniform(0.3, 1) * length))
    if long_outage:
        kind = chance.choice(("no way in", "no way back", "500 recorded", "bad day", "malformed"))
        begin = chance.uniform(0, span)
        made.append(_episode(chance, kind, begin, chance.uniform(20, 60) * HOUR))
    return tuple(sorted(made, key=lambda e: e.begin))


def _late_arrival(chance: Random, usage: tuple[tuple[float, Usage], ...]) -> tuple[Episode, ...]:
    begin = max(0.0, chance.choice(usage)[0] - 60)
    turn = begin + chance.uniform(22, 22.8) * HOUR
    there = Episode(begin, turn, "no way in", _WHOLE["no way in"])
    posts = {"response_lost": 1.0, "paths": ("/v1/billing/meter_events", "/v2/billing/meter_ev")}
    return there, Episode(turn, turn + chance.uniform(1, 4) * HOUR, "no way back", posts)


def _episode(chance: Random, kind: str, begin: float, length: float) -> Episode:
    faults = dict(_WHOLE[kind])
    if kind == "429":
        faults["retry_after_seconds"] = chance.choice((0, 1, 5, 60, 600, 3600))
    return Episode(begin, begin + length, kind, faults)


def _shares(chance: Random) -> dict[str, float]:
    """Draw what goes wrong at any time: nothing, a little, or a lot."""
    level = chance.choice((0.0, 0.01, 0.05, 0.15))
    names = (
        "request_lost",
        "response_lost",
        "malformed",
        "server_error",
        "server_error_recorded",
        "unavailable",
        "rate_limited",
        "conflict",
    )
    shares = {name: level * chance.random() for name in names}
    most = max(1.0, sum(shares.values()) / 0.9)  # they exclude each other
    shares = {name: share / most for name, share in shares.items()}
    whole = max(1.0, sum(shares.values()))  # they exclude each other
    shares = {name: share / whole for name, share in shares.items()}
    shares["slow"] = level
    shares["slow_seconds"] = chance.choice((3, 15, 40))
    return shares


def _happenings(chance: Random, span: float) -> tuple[Happening, ...]:
    made = []
    if chance.random() < 0.5:
        for _ in range(chance.randint(1, 3)):
            made.append(Happening(chance.uniform(0, span), "stop", chance.choice((1, 60, 4000))))  # noqa: PERF401  because three draws in one comprehension are hard to read
    if chance.random() < 0.12:
        down = chance.uniform(20, 60) * HOUR
        made.append(Happening(chance.uniform(0, span), "stop", down))
    if chance.random() < 0.15:
        made.append(Happening(chance.uniform(0, span), "rename"))
    if chance.random() < 0.3:
        made.append(Happening(chance.uniform(0, span), "flush"))
    made += [
        Happening(chance.uniform(0, span), "recall") for _ in range(chance.choice((0, 0, 1, 3)))
    ]
    if chance.random() < 0.15:
        made += [
            Happening(chance.uniform(0, span), "skew", chance.uniform(-900, 900))
            for _ in range(chance.randint(1, 2))
        ]
    if chance.random() < 0.25:  # the first meter, by mistake, at Stripe
        begin = chance.uniform(0, span)
        made.append(Happening(begin, "archive"))
        made.append(Happening(begin + chance.choice((60, 4000, 40_000)), "restore"))
    return tuple(made)


def _cancellations(chance: Random, span: float) -> tuple[Happening, ...]:
    """Draw when somebody takes usage back: mostly soon, sometimes too late for an adjustment."""
    if chance.random() > 0.25:
        return ()
    return tuple(
        Happening(chance.uniform(0, span) + chance.choice((0, 0, 2 * DAY)), "cancel")
        for _ in range(chance.choice((1, 1, 3, 8)))
    )
