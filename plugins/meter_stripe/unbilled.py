"""Usage that is in the journal and not billed: what waits, what is held, what Stripe refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from meter_stripe.printing import counted, figure
from meter_stripe.selection import meters_for

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from meter.commands import SinkDesk
    from meter_stripe.books import MeterBooks

__all__ = ["Aside", "Unbilled", "remainders", "unbilled"]

CLASSES: Final = ("held", "pending", "retrying", "dead")


@dataclass(slots=True)
class Aside:
    """Some events, and their exact seconds."""

    events: int = 0
    seconds: Decimal = Decimal(0)


@dataclass(slots=True)
class Unbilled:
    """What is not billed.

    Attributes:
        classes: of the days asked, by where it stands: held, pending, retrying or dead.
        rest: exact seconds below one whole unit, of all days: they wait for more usage.
        rests: how many customers on a meter have such a rest.
    """

    classes: dict[str, Aside] = field(default_factory=lambda: {where: Aside() for where in CLASSES})
    rest: Decimal = Decimal(0)
    rests: int = 0

    def lines(self, file: str) -> Iterator[str]:
        """Write it for people; nothing where there is nothing.

        Args:
            file: what a command line needs to name the pipelines file.
        """
        some = {where: aside for where, aside in self.classes.items() if aside.events}
        if not (some or self.rests):
            return
        yield "\nnot billed, by the day on which the usage happened:"
        for where, aside in some.items():
            yield f"  {where}: {counted(aside.events, 'event')} of {figure(aside.seconds)} s"
        if self.rests:
            yield (
                f"  below one unit, of all days: {figure(self.rest)} s in "
                f"{counted(self.rests, 'remainder')}, each of one customer on one meter"
            )
        yield f"  `meter stripe plan{file}` says why, and what leaves next"


def unbilled(desk: SinkDesk, start: date, end: date, names: Collection[str] | None) -> Unbilled:
    """Add up what of some UTC days is not billed, by when the usage happened.

    Args:
        desk: of a sink `stripe`.
        start, end: without `end`.
        names: only these customers of ours; None: all.
    """
    found = Unbilled()
    meters = desk.sink.options.meters
    for standing in desk.standings(unsettled=True):
        event = standing.event
        if not start <= event.occurred_at.astimezone(UTC).date() < end:
            continue
        if names is not None and event.customer_id not in names:
            continue
        if event.billed_seconds is None or not meters_for(meters, event):
            continue
        aside = found.classes[standing.where]
        aside.events += 1
        aside.seconds += event.billed_seconds
    return found


def remainders(
    found: Unbilled, meters: Iterable[MeterBooks], customers: Collection[str] | None
) -> None:
    """Add the rests below one unit.

    Args:
        found: to add to.
        meters: whose ledgers are read.
        customers: only these Stripe customers; None: all.
    """
    for books in meters:
        for customer, tally in books.ledger.every_tally():
            rest = tally.used - tally.sent * books.options.unit_seconds
            if rest and (customers is None or customer in customers):
                found.rest += rest
                found.rests += 1
