"""The sink `stripe`: usage becomes meter events, each second once, and the ledger can prove it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Final

from meter.errors import FatalSinkError, RetryableSinkError, SinkError
from meter.sinks import Guarantee, Report, Sink
from meter_stripe.books import MeterBooks
from meter_stripe.customers import customers_for
from meter_stripe.flushing import Flushing
from meter_stripe.ledger import Ledger, MeterRecord, meter_ids
from meter_stripe.mapping_trouble import MappingTrouble
from meter_stripe.options import StripeOptions
from meter_stripe.unsent import InvoiceWatch, note_stuck, note_unsent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from meter.sinks import Batch, Comparison, Deliveries, Route, SinkContext, Total
    from meter_stripe.audit import Audit
    from meter_stripe.client import MeterInfo, StripeApi
    from meter_stripe.customers import Customers
    from meter_stripe.pace import Pace
    from meter_stripe.sending import Sender
    from meter_stripe.workers import Workers

__all__ = ["StripeSink"]

SANDBOX_KEY: Final = "sk_test_sandbox"


class StripeSink(Sink):
    """Freezes usage into intents, sends each one exactly once in effect, and keeps the proof.

    Everything durable is in the ledger; an instance holds connections and nothing else.
    """

    type = "stripe"
    guarantee = Guarantee.WINDOW
    guarantee_note = (
        "Stripe refuses an identifier it knows for 24 h; after 23 h the minute of each meter event "
        "proves whether it is counted, so nothing is ever sent twice"
    )
    exemptions: ClassVar[Mapping[str, str]] = {
        "test_seconds_are_exact": "Stripe counts whole units; the rest below one unit waits in "
        "the ledger, and is sent with later usage",
    }
    Options = StripeOptions
    batch_size = 25_000
    default_start = "now"
    options: StripeOptions

    def __init__(self, options: StripeOptions, context: SinkContext) -> None:
        """Keep what is needed; touch nothing yet."""
        super().__init__(options, context)
        self._meters: list[MeterBooks] = []
        self._customers: Customers | None = None
        self._api: StripeApi | None = None
        self._workers: Workers | None = None
        self._pace: Pace | None = None
        self._audit: Audit | None = None
        self._flush = Flushing(context.state)
        self._mapping = MappingTrouble(context.state)
        self._invoices = InvoiceWatch(context, options)

    # -- what a simulation replaces ----------------------------------------------------------

    def http_client(self) -> Any:
        """Return the SDK's HTTP client, or None for its own."""
        return None

    def sleep(self, seconds: float) -> None:
        """Wait until the next call may begin."""
        time.sleep(seconds)

    # -- the sink's life ---------------------------------------------------------------------

    def open(self) -> None:
        """Find the meters at Stripe and the ledgers that belong to them.

        Raises:
            FatalSinkError: the key is refused, or a meter is missing, archived or unfit.
            RetryableSinkError: Stripe does not answer, or the customers cannot be read.
        """
        from meter_stripe.audit import Audit
        from meter_stripe.meters import fit_meters, same_unit
        from meter_stripe.pace import Pace
        from meter_stripe.workers import Workers

        api = self.api()
        infos = fit_meters(api, self.options)
        state = self.context.state
        for options in self.options.meters:
            same_unit(Ledger(state, infos[options.event_name].id), options)
        state.commit(
            [
                write
                for options in self.options.meters
                for info in (infos[options.event_name],)
                for write in (
                    state.put(f"meter/{options.event_name}", info.id),
                    state.scoped("meters").put(f"{api.mode}/{options.event_name}", info.id),
                    Ledger(state, info.id).remember(self._record(info, options.unit)),
                )
            ]
        )
        self._meters = [
            MeterBooks(
                options=options,
                ledger=Ledger(state, infos[options.event_name].id),
                ledger_id=self.context.journal_id,
                mode=api.mode,
                customer_key=infos[options.event_name].customer_key,
                value_key=infos[options.event_name].value_key,
            )
            for options in self.options.meters
        ]
        self._customers = customers_for(self.options, self.api, stopping=self.context.stopping)
        self._customers.refresh(self.context.clock.now())
        self._audit = Audit(api, self._meters, state=state, options=self.options)
        self._workers = Workers(self.options.concurrency)
        self._pace = Pace(self.options.calls_per_second, monotonic=self.context.clock.monotonic)

    def deliver(self, batch: Batch) -> Report:
        """Freeze and send what can leave now, and say of each event how far it came.

        Raises:
            FatalSinkError: Stripe refuses the key.
            RetryableSinkError: Stripe does not answer.
        """
        from meter_stripe.guard import Guard
        from meter_stripe.planning import plan

        api, customers, workers, _ = self._opened()
        now = self.context.clock.now()
        made = plan(batch.events, self._meters, customers=customers, options=self.options, now=now)
        if self.options.guard:
            Guard(api, workers).pass_(made.chains)
        try:
            self._sender().run(made.chains)
        except SinkError:
            self.context.state.commit(note_stuck(self.context.state, batch.events))
            raise
        report = made.verdicts.report()
        return replace(
            report, state=[*report.state, *note_unsent(self.context.state, batch.events, report)]
        )

    def tend(self) -> Report | None:
        """Do one of the things that are due beside deliveries; each is stored before the next.

        The customers are read again, what Stripe reported and what people said is seen to, what
        that left uneven is evened out, and what was delivered is compared with what Stripe counts.

        Raises:
            FatalSinkError, RetryableSinkError: as `deliver`.
        """
        from meter_stripe import error_reports, reissue_checks, resolving

        api, customers, _, _ = self._opened()
        state, now = self.context.state, self.context.clock.now()
        self._invoices.look(now)
        if customers.refresh(now) or self._flush.asked(now):
            return Report(hasten=True)
        return (
            self._mapping.changed(customers.trouble, now)
            or error_reports.process(self, now)
            or resolving.carry_out(self._meters, now=now, log=self.context.log)
            or self._even_out(now)
            or reissue_checks.check_reissues(api, self._meters, state=state, now=now)
            or (None if self._audit is None else self._audit.nightly(now))
        )

    def routes(self) -> Sequence[Route]:
        """Offer the path to which Stripe posts its error reports; see `webhook_secret`."""
        from meter_stripe.error_reports import routes

        return routes(self)

    def status(self) -> Sequence[str]:
        """Say what waits, what differs and what a person must see."""
        from meter_stripe.standing import status

        return status(self)

    def explain(self, reference: str) -> Sequence[str]:
        """Say what became of an event, or what an identifier of Stripe's stands for."""
        from meter_stripe.standing import explain

        return explain(self, reference)

    def check(self) -> Sequence[str]:
        """Try the key, the meters and the customers; changes nothing.

        Raises:
            SinkError: everything that is wrong.
        """
        from meter_stripe.checking import check

        return check(self)

    def totals(self) -> Sequence[Total]:
        """Ask Stripe what it counts of all that was ever delivered, by customer and meter.

        Raises:
            SinkError: Stripe does not say.
        """
        from meter_stripe.api_errors import StripeRefused
        from meter_stripe.comparison import totals

        try:
            return totals(self.api(), self.books(), self.context.clock.now())
        except StripeRefused as error:
            raise SinkError(str(error)) from error

    def compared(
        self, deliveries: Deliveries, since: datetime | None, until: datetime | None
    ) -> Comparison:
        """Compare with what Stripe counts, for `meter reconcile`, as `meter stripe verify` does.

        Raises:
            SinkError: Stripe does not say.
        """
        from meter_stripe.reconciling import compared

        return compared(self, deliveries, since, until)

    def close(self) -> None:
        """Let go of threads and connections."""
        if self._workers is not None:
            self._workers.close()
        if self._api is not None:
            self._api.close()

    def _even_out(self, now: datetime) -> Report | None:
        """Send what evens out what was undone; None when nothing is due."""
        from meter_stripe import true_ups

        chains, writes = true_ups.chains(self._meters, self.options, now)
        if chains:
            self._sender().run(chains)
        return Report(state=writes) if chains or writes else None

    def _sender(self) -> Sender:
        from meter_stripe.sending import Sender

        api, _, workers, pace = self._opened()
        return Sender(
            api,
            self.context,
            workers=workers,
            pace=pace,
            sleep=self.sleep,
            flushing=self._flushing,
        )

    # -- what commands and other modules use ---------------------------------------------------

    def api(self) -> StripeApi:
        """Return the connection to Stripe, made on first use.

        Raises:
            FatalSinkError: the key is no API key of Stripe's.
        """
        from meter_stripe.client import StripeApi

        if self._api is None:
            if self.options.mode is None:
                raise FatalSinkError(
                    "its `api_key` is no key of Stripe's API: those begin with sk_live_, "
                    "sk_test_, rk_live_ or rk_test_"
                )
            self._api = StripeApi(self.options, http_client=self.http_client())
        return self._api

    def books(self) -> list[MeterBooks]:
        """Return the meters that this sink has used, without asking Stripe."""
        if self._meters:
            return self._meters
        state = self.context.state
        # Another name of this sink may have used them.
        shared = state.scoped("meters").scan(f"{self.options.mode}/" if self.options.mode else "")
        ids = {key.partition("/")[2]: meter_id for key, meter_id in shared} | meter_ids(state)
        return [
            MeterBooks(
                options=options,
                ledger=Ledger(state, ids[options.event_name]),
                ledger_id=self.context.journal_id,
                mode=self.options.mode or "",
            )
            for options in self.options.meters
            if options.event_name in ids
        ]

    def _flushing(self) -> bool:
        """Tell whether everything should leave now: meter wants it, or a person asked for it."""
        return self.context.flushing() or self._flush.holds(self.context.clock.now())

    def _opened(self) -> tuple[StripeApi, Customers, Workers, Pace]:
        if (
            self._customers is None
            or self._workers is None
            or self._pace is None
            or self._api is None
        ):
            raise RetryableSinkError("the sink is not open")
        return self._api, self._customers, self._workers, self._pace

    def _record(self, info: MeterInfo, unit: str) -> MeterRecord:
        return MeterRecord(
            meter_id=info.id,
            event_name=info.event_name,
            display_name=info.display_name,
            mode="live" if info.livemode else "test",
            unit=unit,
            customer_key=info.customer_key,
            value_key=info.value_key,
        )

    @classmethod
    def sandboxed(cls, options: StripeOptions, doubles: Mapping[str, str]) -> StripeOptions | None:
        """Point everything at the local double; customers keep their own names there."""
        if "stripe" not in doubles:
            return None
        return options.model_copy(
            update={
                "base_url": doubles["stripe"],
                "api_key": type(options.api_key)(SANDBOX_KEY),
                "customers": "passthrough",
                "create_missing": True,
                "max_per_second": None,
            }
        )
