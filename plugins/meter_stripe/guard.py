"""The guard: before the first usage of a run leaves, does Stripe have it already?

A journal that was restored from an older copy collects anew what the copy lacks, and its ledger
does not know that Stripe has it; so does a ledger whose meter another program feeds. Both would
bill twice, and neither can be seen from inside. Stripe's summaries of the very hours that are about
to be sent show it.
"""

from __future__ import annotations

from concurrent.futures import Future, wait
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Final

from meter.errors import FatalSinkError
from meter_stripe.api_errors import StripeRefused
from meter_stripe.slots import HOUR

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meter_stripe.client import StripeApi
    from meter_stripe.jobs import Chain
    from meter_stripe.workers import Workers

__all__ = ["Guard", "forget"]

SAMPLE: Final = 20
"""So many customers are looked up, one read each: a restored copy lacks usage of most of them."""
_LOOKED: Final[dict[tuple[str, str], set[str]]] = {}
"""Customers that were looked up in this process, by ledger: a sink is opened anew after every
failure, and need not ask again what was answered."""


class Guard:
    """Looks up the first customers of each ledger in each process."""

    def __init__(self, api: StripeApi, workers: Workers) -> None:
        self._api = api
        self._workers = workers

    def pass_(self, chains: Iterable[Chain]) -> None:
        """Let new usage through, or not.

        Raises:
            FatalSinkError: Stripe counts more in the hours that are about to be sent than the
                ledger ever sent there.
            SinkError: as `StripeApi.counted`.
        """
        looks: list[tuple[Chain, Future[None]]] = []
        for chain in chains:
            looked = _LOOKED.setdefault(_key(chain), set())
            if len(looked) + len(looks) < SAMPLE and chain.customer not in looked and _hours(chain):
                look = self._workers.submit(partial(self._look, chain), len(looks))
                looks.append((chain, look))
        wait([look for _, look in looks])
        for chain, look in looks:
            look.result()
            _LOOKED[_key(chain)].add(chain.customer)

    def _look(self, chain: Chain) -> None:
        hours = _hours(chain)
        ledger = chain.books.ledger
        start, end = min(hours) * HOUR, (max(hours) + 1) * HOUR
        known: dict[int, Decimal] = {}
        for intent in ledger.slots(chain.customer, start, end):
            if intent.state != "rejected" and intent.value > 0:
                hour = intent.minute // HOUR
                known[hour] = known.get(hour, Decimal(0)) + intent.value
        try:
            rows = self._api.counted(
                meter_id=ledger.meter_id,
                customer=chain.customer,
                start=start,
                end=end,
                window="hour",
            )
        except StripeRefused:
            return  # a customer that Stripe does not know has no usage there; sending says so
        for at, counted in rows.items():
            if at // HOUR in hours and counted > known.get(at // HOUR, Decimal(0)):
                raise FatalSinkError(
                    f"Stripe counts {counted} for {chain.customer} on {chain.books.event_name} "
                    f"in an hour where this journal sent {known.get(at // HOUR, 0)}, and more is "
                    "about to be sent: was the journal restored from an older copy, or does "
                    "another program send to this meter? Nothing was sent. Compare with `meter "
                    "stripe verify` and `meter stripe plan`; docs/stripe.md says how to go on"
                )


def forget() -> None:
    """Look again, as a new process would; for tests that stand for several."""
    _LOOKED.clear()


def _key(chain: Chain) -> tuple[str, str]:
    return chain.books.ledger_id, chain.books.ledger.meter_id


def _hours(chain: Chain) -> set[int]:
    """Return the hours of the usage that nothing bills yet, as it occurred."""
    return {
        int(usage.occurred_at.timestamp()) // HOUR
        for job in chain.jobs
        if job.cancels is None and not job.carried
        for usage in job.usages
    }
