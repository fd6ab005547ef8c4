"""What Stripe keeps for one account in one mode, and one call to it."""

import dataclasses
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from meter.sandbox.stripe_event_book import EventBook
from meter.sandbox.stripe_faults import StripePlan
from meter.sandbox.stripe_ids import StripeIds
from meter.sandbox.stripe_limits import Pair, PairLocks, RateLimit
from meter.sandbox.stripe_reports import Reports
from meter.sandbox.stripe_rules import StripeRules
from meter.sandbox.stripe_stored import StoredAnswers
from meter.sandbox.stripe_wire import Params

Document: TypeAlias = dict[str, Any]
Objects: TypeAlias = dict[str, Document]
"""Documents by id, oldest first."""


class StripeLedger:
    """The state of one account in one mode; live and test share nothing."""

    def __init__(self, *, account: str, livemode: bool, rules: StripeRules, ids: StripeIds) -> None:
        self.account = account
        self.livemode = livemode
        self.rules = rules
        self.ids = ids
        self.meters: Objects = {}
        self.customers: Objects = {}
        self.products: Objects = {}
        self.prices: Objects = {}
        self.events = EventBook(
            identifier=timedelta(seconds=rules.identifier_seconds),
            lag=timedelta(seconds=rules.summary_lag_seconds),
        )
        self.reports = Reports(ids=ids, rules=rules, livemode=livemode)
        self.stored = StoredAnswers(seconds=rules.idempotency_seconds)
        self.locks = PairLocks()
        self.event_rate = RateLimit(
            rules.live_events_per_second if livemode else rules.test_events_per_second
        )
        self._meters_by_name: dict[str, Document] = {}

    def meter_named(self, event_name: str) -> Document | None:
        """Return the meter of an event name, an inactive one too."""
        return self._meters_by_name.get(event_name)

    def add_meter(self, meter: Document) -> None:
        """Keep a new meter; its event name stays its own for ever."""
        self.meters[meter["id"]] = meter
        self._meters_by_name[meter["event_name"]] = meter


@dataclasses.dataclass(slots=True, kw_only=True)
class Call:
    """One request that is being carried out.

    Attributes:
        ledger: What it reads and changes.
        params: Its parameters, decoded.
        object_id: The id in its path.
        v2: Whether it came by v2.
        now: When it was received, aware UTC.
        plan: What goes wrong with it.
        idempotency_key: As sent.
        holding: The customer and meter that it locked until it is answered.
    """

    ledger: StripeLedger
    params: Params
    object_id: str
    v2: bool
    now: datetime
    plan: StripePlan
    idempotency_key: str | None
    holding: Pair | None = None

    @property
    def rules(self) -> StripeRules:
        """The limits that hold."""
        return self.ledger.rules
