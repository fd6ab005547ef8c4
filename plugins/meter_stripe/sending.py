"""Sending: the chains of a batch, one call at a time for each, as many at once as the pace allows.

Every call follows the same order: what is about to happen is committed, then the call is made,
then what came of it is committed together with the next thing that is about to happen. A crash
anywhere leaves an intent that is sent again under the same identifier.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from meter.errors import FatalSinkError, RetryableSinkError
from meter_stripe import proof
from meter_stripe.answers import Answer, Outcome
from meter_stripe.api_errors import StripeRefused
from meter_stripe.cancelling import begin_cancel, finish_cancel, finish_correction
from meter_stripe.freezing import TooLarge, freeze
from meter_stripe.imbalances import refused, undone
from meter_stripe.outcomes import answered
from meter_stripe.planning import rejection
from meter_stripe.slots import Wait
from meter_stripe.true_ups import even_out
from meter_stripe.verdicts import Verdict

if TYPE_CHECKING:
    from meter.sinks import SinkContext, StateWrite
    from meter_stripe.client import StripeApi
    from meter_stripe.intents import Intent
    from meter_stripe.jobs import Chain, Job
    from meter_stripe.pace import Pace
    from meter_stripe.workers import Workers

__all__ = ["Sender"]

What: TypeAlias = Literal["send", "cancel", "probe"]
Result: TypeAlias = Answer | Decimal

OUTAGE: Final = 5
"""So many calls without an answer, one after the other: it is Stripe or the network, not a
customer."""
WORDS: Final = 120
LONGEST_PAUSE: Final = 1.0
"""Seconds; so that a stop is noticed while Stripe wants nothing."""
WAITS_FOR_MINUTE: Final = "waits for its minute: one meter event a minute for a customer and meter"
WAITS_FOR_ANSWER: Final = "waits for a clear answer of Stripe's, then it is sent again as it was"
WAITS_FOR_PROOF: Final = "waits for proof that Stripe has it: it was sent more than 23 h ago"
WAITS_FOR_TURN: Final = "waits for earlier usage of the same customer"
STOPPING: Final = "meter was stopping"


@dataclass(slots=True)
class _Call:
    chain: Chain
    job: Job
    what: What


class Sender:
    """Carries out the chains of one batch; made anew for each."""

    def __init__(
        self,
        api: StripeApi,
        context: SinkContext,
        *,
        workers: Workers,
        pace: Pace,
        sleep: Callable[[float], None],
        flushing: Callable[[], bool],
    ) -> None:
        self._api = api
        self._state = context.state
        self._clock = context.clock
        self._stopping = context.stopping
        self._log = context.log
        self._workers = workers
        self._pace = pace
        self._sleep = sleep
        self._flushing = flushing
        self._writes: list[StateWrite] = []
        self._silent = 0
        self._fault: Exception | None = None

    def run(self, chains: Iterable[Chain]) -> None:
        """Carry out every chain as far as it goes now; their verdicts tell how far.

        Raises:
            FatalSinkError: Stripe refuses the key. RetryableSinkError: Stripe does not answer.
                What was found out until then is in the ledger.
        """
        # The longest chain first: it has the most calls that must wait for each other.
        ready = [(-len(chain.jobs), number, chain) for number, chain in enumerate(chains)]
        heapq.heapify(ready)
        flying: dict[Future[Result], tuple[int, _Call]] = {}
        while ready or flying:
            launched, pause = self._launch(ready, len(flying))
            self._commit()
            for number, call in launched:
                made = partial(self._make, call)
                flying[self._workers.submit(made, len(flying))] = number, call
            if not flying:
                self._sleep(pause)
                continue
            landed = wait(flying, timeout=pause or None, return_when=FIRST_COMPLETED).done
            for future in landed:
                number, call = flying.pop(future)
                self._land(call, future.result())
                if call.chain.jobs:
                    heapq.heappush(ready, (-len(call.chain.jobs), number, call.chain))
        self._commit()
        if self._fault is not None:
            raise self._fault

    def _launch(
        self, ready: list[tuple[int, int, Chain]], under_way: int
    ) -> tuple[list[tuple[int, _Call]], float]:
        """Return the calls that may begin now, their intents written, and seconds to the next."""
        launched: list[tuple[int, _Call]] = []
        if self._fault is not None:
            ready.clear()
        while ready and under_way + len(launched) < self._workers.concurrency:
            if pause := self._pace.take():
                return launched, min(pause, LONGEST_PAUSE)
            _, number, chain = heapq.heappop(ready)
            call = self._next(chain)
            if call is not None:
                launched.append((number, call))
        return launched, 0.0

    def _commit(self) -> None:
        if self._writes:
            writes, self._writes = self._writes, []
            self._state.commit(writes)

    # -- what is to be done next -------------------------------------------------------------

    def _next(self, chain: Chain) -> _Call | None:
        """Return a chain's next call, its intent written; None when it goes no further now."""
        while chain.jobs:
            now = self._clock.now()
            if self._stopping():
                chain.put_off(STOPPING, now)
                return None
            job = chain.jobs[0]
            try:
                # A call of an earlier run may have arrived, however long ago that was.
                intent = self._prepared(chain, job).interrupted()
            except Wait as minute:
                chain.put_off(WAITS_FOR_MINUTE, datetime.fromtimestamp(minute.until, UTC))
                return None
            except TooLarge as error:
                chain.finish(Verdict("held", str(error)))
                continue
            if intent.state == "absorbed":
                self._settled(chain, job, intent)
                continue
            if intent.next_at is not None and intent.next_at > now:
                self._put_off(chain, intent)
                return None
            what: What = "cancel" if intent.state == "cancelling" else "send"
            if what == "send" and proof.needed(intent, now):
                what = "probe"
            else:
                intent = intent.begun(now)
                self._writes += chain.books.ledger.put(intent)
            job.intent = intent
            return _Call(chain, job, what)
        return None

    def _prepared(self, chain: Chain, job: Job) -> Intent:
        """Return the intent of a job, frozen now if it was not."""
        now = self._clock.now()
        if job.cancels is not None and job.intent is not None and not job.intent.unsettled:
            job.intent, writes = begin_cancel(chain, job, now)
            self._writes += writes
        elif job.evens is not None and job.intent is None:
            job.intent, writes = even_out(chain, job.evens, now)
            self._writes += writes
        elif job.intent is None:
            job.intent, writes = freeze(chain, job, now, flushing=self._flushing())
            self._writes += writes
        return job.intent

    def _put_off(self, chain: Chain, intent: Intent) -> None:
        """End a chain for now, because its first intent waits."""
        now = self._clock.now()
        reason = WAITS_FOR_PROOF if proof.needed(intent, now) else WAITS_FOR_ANSWER
        if intent.history and intent.history[-1].message:
            reason += f": {intent.history[-1].message[:WORDS]}"
        at = intent.next_at or now
        chain.finish(Verdict("later", reason, at))
        chain.put_off(WAITS_FOR_TURN, at)

    # -- the call, in another thread ----------------------------------------------------------

    def _make(self, call: _Call) -> Result:
        intent, books = _under_way(call.job), call.chain.books
        if call.what == "probe":
            try:
                return proof.counted(self._api, books.ledger.meter_id, intent)
            except RetryableSinkError as error:
                return Answer(Outcome.UNKNOWN, message=str(error), retry_after=error.retry_after)
            except FatalSinkError as error:
                return Answer(Outcome.DENIED, message=str(error))
            except StripeRefused as error:
                return Answer(Outcome.REFUSED, message=str(error))
        if call.what == "cancel":
            return self._api.cancel(event_name=intent.event_name, identifier=intent.identifier)
        return self._api.send(
            event_name=intent.event_name,
            identifier=intent.identifier,
            customer=intent.customer,
            value=Decimal(intent.value),
            timestamp=intent.minute,
            idempotency_key=intent.idempotency_key,
            customer_key=books.customer_key,
            value_key=books.value_key,
        )

    # -- what came of it ----------------------------------------------------------------------

    def _land(self, call: _Call, result: Result) -> None:
        """Take in what came of a call: into the ledger's writes, and into the verdicts."""
        chain, job, now = call.chain, call.job, self._clock.now()
        intent = _under_way(job)
        if isinstance(result, Decimal):
            self._silent = 0
            intent, writes = proof.concluded(chain, intent, result, now)
            self._writes += writes
        else:
            self._listen(result)
            intent = answered(intent, call.what, result, now)
            if intent.state != "cancelled":  # that is stored together with the report
                self._writes += chain.books.ledger.put(intent)
        job.intent = intent
        if intent.state == "cancelled":
            finish_cancel(chain, job, now)
        elif intent.unsettled:
            if intent.next_at is not None and intent.next_at > now:
                self._put_off(chain, intent)
        elif call.what == "cancel":  # refused: planned again, a negative event takes its place
            chain.put_off(WAITS_FOR_TURN, now)
        else:
            self._settled(chain, job, intent)

    def _listen(self, answer: Answer) -> None:
        """Notice when it is Stripe, or the key, and not one customer's usage."""
        if answer.outcome is Outcome.UNKNOWN:
            if not self._silent:
                self._log.warning("stripe.no_answer", extra={"error": answer.message})
            self._silent += 1
            if self._silent >= OUTAGE and self._fault is None:
                self._fault = RetryableSinkError(f"Stripe gives no clear answer: {answer.message}")
            return
        self._silent = 0
        if answer.outcome is Outcome.DENIED:
            self._fault = FatalSinkError(
                f"Stripe refused the api_key of the sink ({answer.status or 'denied'}): "
                f"{answer.message}; nothing is lost. Put the key right, then restart meter"
            )
        elif answer.outcome is Outcome.BUSY and answer.retry_after:
            self._pace.pause(answer.retry_after)

    def _settled(self, chain: Chain, job: Job, intent: Intent) -> None:
        """End a job whose intent has its final state."""
        ledger = chain.books.ledger
        if intent.state == "rejected":
            chain.tally = chain.tally.less(intent)
            self._writes += [
                ledger.tally(chain.customer, chain.tally),
                undone(ledger, [intent], self._clock.now()),
            ]
            self._rejected(chain, job, intent)
        elif intent.state == "disputed":
            self._writes.append(ledger.problem(intent.identifier, intent.note))
            chain.finish(Verdict("held", intent.note))
        else:
            if intent.kind == "correction":
                self._writes += finish_correction(chain, intent)
            if intent.replaces is not None:
                self._writes.append(ledger.check(intent, proof.first_check(self._clock.now())))
            chain.finish(Verdict("delivered"))

    def _rejected(self, chain: Chain, job: Job, intent: Intent) -> None:
        """Give the events of a rejected intent back; a refused correction leaves them billed."""
        ledger = chain.books.ledger
        links = ledger.links(job.offered)
        chain.jobs.popleft()
        if intent.kind == "true_up":
            self._writes.append(refused(ledger, intent, intent.note))
        for event_id in job.offered:
            link = links[event_id]
            if intent.kind == "correction":
                self._writes.append(ledger.link(event_id, link.to(intent.takes_from)))
                verdict = Verdict("held", f"taking it back was refused: {intent.note}")
            else:
                verdict = rejection(chain.books, event_id, link, intent.note)
            chain.verdicts.give([event_id], verdict)


def _under_way(job: Job) -> Intent:
    if job.intent is None:
        raise AssertionError("a call without an intent")
    return job.intent
