"""The sink `stripe` by the conformance kit, against the double of Stripe in this process.

The double outlives the processes that are killed, and is asked for its own books. Stripe keeps
sums in whole units: what is below one unit waits in the ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from meter.sandbox.stripe_faults import StripePlan
from meter.sandbox.stripe_keys import StripeKey
from meter.sandbox.stripe_rules import StripeRules
from meter.sandbox.stripe_sandbox import StripeSandbox
from meter.sandbox.stripe_wire import request_of
from meter.testing import DestinationFault, FakeClock, Row, SinkConformance

METER = "transcription_seconds"
POSTS = "/v1/billing/meter_events"
CUSTOMERS = ("acme", "globex", "initech")
KEYS = {f"sk_test_Whole51Secret{n:03}": StripeKey(account=f"acct_{n}") for n in range(100)}
PLANS = {
    DestinationFault.BUSY: StripePlan(status=503),
    DestinationFault.ANSWER_LOST: StripePlan(lost="response"),
    DestinationFault.REFUSES: StripePlan(status=400),
}


class Stripe:
    """One double for all of the cases, which takes half a second to start and stop."""

    def __init__(self) -> None:
        self.keys = iter(KEYS)
        self.clock: FakeClock | None = None
        self.sandbox = StripeSandbox(
            keys=KEYS, rules=StripeRules(test_events_per_second=None), clock=self._now
        )

    def _now(self) -> datetime:
        now = datetime.now(UTC)
        return now if self.clock is None else max(now, self.clock.now())


class Account:
    """The account of one case: a meter, customers, and what the double was told to do to it."""

    def __init__(self, stripe: Stripe) -> None:
        self.key = next(stripe.keys)
        self._double = stripe.sandbox
        self._id = KEYS[self.key].account
        aggregation = {"default_aggregation": {"formula": "sum"}}
        meter = {"display_name": METER, "event_name": METER, **aggregation}
        self._add("/v1/billing/meters", meter)
        self.customers = {self._add("/v1/customers", {"name": c}): c for c in CUSTOMERS}

    def rows(self) -> list[Row]:
        return [
            Row(customer_id=self.customers[customer], seconds=total)
            for (customer, _), total in self._double.truth(account=self._id).totals.items()
        ]

    def fail_next(self, fault: DestinationFault) -> bool:
        self._double.plan_next(PLANS[fault], path=POSTS)
        return True

    def heal(self) -> None:
        # A request that is drawn for and never carried out takes up what is planned.
        self._double.books.draw(request_of("POST", POSTS, {}, None))

    def _add(self, path: str, params: dict[str, Any]) -> str:
        return str(self._double.books.add(path, params, account=self._id)["id"])


@pytest.fixture(scope="module")
def stripe() -> Iterator[Stripe]:
    made = Stripe()
    with made.sandbox:
        yield made


@pytest.fixture
def account(stripe: Stripe, clock: FakeClock) -> Account:
    stripe.clock = clock
    return Account(stripe)


class TestStripe(SinkConformance):
    customers = CUSTOMERS
    ago = timedelta(hours=2)  # an hour that is over has sixty minutes for each customer
    unit_seconds = Decimal(1)

    @pytest.fixture
    def sink_config(self, tmp_path: Path, stripe: Stripe, account: Account) -> dict[str, Any]:
        customers = tmp_path / "customers.yaml"
        pairs = account.customers.items()
        customers.write_text("".join(f"{ours}: {theirs}\n" for theirs, ours in pairs))
        return {
            "type": "stripe",
            "start": "beginning",
            "api_key": account.key,
            "webhook_secret": "whsec_0f1e2d3c4b5a69788796a5b4",
            "base_url": stripe.sandbox.base_url,
            "customers": {"file": str(customers)},
            "meters": [{"event_name": METER}],
            "period_day": "none",
            "max_per_second": 1000,
        }

    @pytest.fixture
    def read_back(self, account: Account) -> Callable[[], Iterable[Row]]:
        return account.rows

    @pytest.fixture
    def faults(self, account: Account) -> Account:
        return account
