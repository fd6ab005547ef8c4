"""Whom `meter stripe verify` asks Stripe for: everybody that a ledger or the mapping knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from meter.errors import SinkError
from meter_stripe.counting import owned
from meter_stripe.customers import customers_for

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from datetime import datetime

    from meter_stripe.books import MeterBooks
    from meter_stripe.sink import StripeSink

__all__ = ["KnownCustomers", "Question", "known_customers", "questions"]


@dataclass(frozen=True, slots=True)
class KnownCustomers:
    """Who could be asked for.

    Attributes:
        billed: Stripe customers that a ledger knows, of whichever meter.
        mapped: Stripe customers by our names, as the option `customers` says.
        trouble: why the mapping could not be read; empty when it could.
    """

    billed: frozenset[str]
    mapped: Mapping[str, str]
    trouble: str = ""

    def meant(self, name: str, names: Mapping[str, Collection[str]]) -> list[str]:
        """Return the Stripe customers that a name stands for: ours first, then Stripe's own id.

        Args:
            name: our name, or Stripe's id.
            names: our names behind each Stripe customer, as it was billed: the mapping may have
                been another one then.
        """
        ids = {stripe for stripe, ours in names.items() if name in ours}
        if name in self.mapped:
            ids.add(self.mapped[name])
        if not ids and (name in self.billed or name in self.mapped.values()):
            ids.add(name)
        return sorted(ids)


@dataclass(frozen=True, slots=True)
class Question:
    """One Stripe customer on one meter.

    Attributes:
        due: must be asked: it has usage in these days, or a person named it.
    """

    books: MeterBooks
    customer: str
    due: bool


def known_customers(
    sink: StripeSink, meters: Iterable[MeterBooks], now: datetime
) -> KnownCustomers:
    """Read the ledgers and the mapping; without the mapping the ledgers' customers are left."""
    billed = frozenset(name for each in meters for name, _ in each.ledger.every_tally())
    customers = customers_for(sink.options, sink.api)
    try:
        customers.refresh(now)
        return KnownCustomers(billed, dict(customers.pairs()), customers.trouble or "")
    except SinkError as error:
        return KnownCustomers(billed, {}, " ".join(str(error).split()))


def questions(
    known: KnownCustomers, meters: Iterable[MeterBooks], *, start: int, end: int
) -> list[Question]:
    """Return what is to be asked, the surest first.

    That is: usage in [start, end), unix seconds; then the other customers of the ledgers on every
    meter; at last those that are mapped and were never billed.
    """
    every = list(meters)
    billed = sorted(known.billed)
    found = [
        Question(books, customer, due=True)
        for books in every
        for customer in billed
        if any(owned(books.ledger, customer, start, end))
    ]
    used = {(each.books.event_name, each.customer) for each in found}
    found += [
        Question(books, customer, due=False)
        for customer in [*billed, *sorted(set(known.mapped.values()) - known.billed)]
        for books in every
        if (books.event_name, customer) not in used
    ]
    return found
