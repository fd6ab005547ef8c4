"""Two senders as they are usually written, to show that the harness can tell the difference."""

from __future__ import annotations

from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar

from meter.errors import FatalSinkError
from meter.sinks import Batch, Guarantee, Later, Report, Sink, SinkContext
from meter_stripe.answers import Outcome
from meter_stripe.client import StripeApi
from meter_stripe.customers import Unmapped, customers_for
from meter_stripe.options import StripeOptions
from meter_stripe.selection import counts

if TYPE_CHECKING:
    from meter.events import Event


class NaiveSender(Sink):
    """One meter event an event, under an identifier that it keeps for ever, until Stripe has it.

    It even remembers, durably, what Stripe confirmed.
    """

    type = "naive"
    guarantee = Guarantee.AT_LEAST_ONCE
    Options = StripeOptions
    batch_size = 25_000
    options: StripeOptions
    identified: ClassVar[bool] = True

    def __init__(self, options: StripeOptions, context: SinkContext) -> None:
        super().__init__(options, context)
        self._calls = count()

    def http_client(self) -> Any:
        return None

    def sleep(self, seconds: float) -> None:
        """Wait; nothing here does."""

    def open(self) -> None:
        self._api = StripeApi(self.options, http_client=self.http_client())
        self._customers = customers_for(self.options, lambda: self._api)
        self._state = self.context.state.scoped("naive")

    def deliver(self, batch: Batch) -> Report:
        now = self.context.clock.now()
        self._customers.refresh(now)
        delivered, later, held = [], {}, {}
        for event in batch.events:
            try:
                customer = self._customers.find(event.customer_id)
            except Unmapped as reason:
                held[event.event_id] = str(reason)
                continue
            if self._sent(event, customer):
                delivered.append(event.event_id)
            else:
                later[event.event_id] = Later("again", now + timedelta(minutes=5))
        return Report(delivered=delivered, later=later, held=held)

    def _sent(self, event: Event, customer: str) -> bool:
        done = True
        for meter in self.options.meters:
            identifier = f"{event.event_id}/{meter.event_name}"
            if not counts(meter, event) or self._state.get(identifier):
                continue
            again = f"#{self.context.clock.now().timestamp()}-{next(self._calls)}"
            answer = self._api.send(
                event_name=meter.event_name,
                identifier=identifier if self.identified else identifier[:40] + again,
                customer=customer,
                value=event.billed_seconds or 0,  # type: ignore[arg-type]  # because 0 is as good
                timestamp=int(event.occurred_at.timestamp()),
                idempotency_key=identifier + again,
            )
            if answer.outcome is Outcome.DENIED:
                raise FatalSinkError(answer.message)
            if answer.arrived:
                self._state.commit([self._state.put(identifier, "sent")])
            done = done and answer.arrived
        return done


class ForgetfulSender(NaiveSender):
    """The same without an identifier: Stripe takes each attempt for new usage."""

    type = "forgetful"
    identified = False
