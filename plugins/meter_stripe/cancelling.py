"""Taking one event back: by an adjustment within Stripe's day, later by a negative event.

An adjustment cancels a whole meter event. The other events that it billed are freed in the same
transaction that says so, and come back as new usage.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from meter_stripe.freezing import correction
from meter_stripe.imbalances import undone
from meter_stripe.ledger import Link
from meter_stripe.proof import SAFE
from meter_stripe.verdicts import Verdict

if TYPE_CHECKING:
    from meter.sinks import StateWrite
    from meter_stripe.intents import Intent
    from meter_stripe.jobs import Chain, Job
    from meter_stripe.ledger import Ledger

__all__ = ["begin_cancel", "finish_cancel", "finish_correction"]

BILLED_ANEW: Final = "its meter event was taken back because of another event; billed anew"


def begin_cancel(chain: Chain, job: Job, now: datetime) -> tuple[Intent, list[StateWrite]]:
    """Turn the intent that bills an event into one that is being cancelled, or make a correction.

    Raises:
        Wait: a correction needs a minute, and none is free.
    """
    intent, usage = job.intent, job.usages[0]
    if intent is None:
        raise AssertionError("nothing to cancel")
    if (
        intent.state == "delivered"
        and not intent.cancel_refused
        and intent.kind == "usage"
        and now < intent.frozen_at + SAFE
    ):
        cancelling = intent.changed(state="cancelling", next_at=None)
        return cancelling, chain.books.ledger.put(cancelling)
    return correction(chain, intent, usage.event_id, usage.seconds, usage.link, now)


def finish_cancel(chain: Chain, job: Job, now: datetime) -> None:
    """Free the events of a cancelled intent; all of it is stored with the batch's report.

    The chain ends here, because nothing may be frozen on a tally that is not stored yet.
    """
    intent, ledger, verdicts = job.intent, chain.books.ledger, chain.verdicts
    if intent is None:
        raise AssertionError("nothing was cancelled")
    chain.jobs.popleft()
    decisions = ledger.decisions(intent.events)
    links = ledger.links(intent.events)
    chain.tally = chain.tally.less(intent)
    verdicts.state += [
        *ledger.put(intent),
        ledger.tally(chain.customer, chain.tally),
        ledger.compare(intent.slot, chain.customer),
        undone(ledger, [intent], now),
    ]
    for event_id in intent.events:
        link = links.get(event_id, Link())
        taken_back = event_id in decisions and decisions[event_id].act == "cancel"
        if link.now == intent.identifier:
            freed = link.to(None)
            verdicts.state += [
                ledger.link(event_id, Link(None, freed.past, cancelled=taken_back)),
                *_over(ledger, freed, taken_back=taken_back),
            ]
        if event_id not in job.offered:
            if not taken_back:
                verdicts.recall[event_id] = BILLED_ANEW
        elif taken_back:
            verdicts.give([event_id], Verdict("delivered"))
        else:
            verdicts.give([event_id], Verdict("later", BILLED_ANEW, now))
    chain.put_off(BILLED_ANEW, now)


def finish_correction(chain: Chain, intent: Intent) -> list[StateWrite]:
    """Make the writes that end an event's billing, once its negative event is delivered."""
    ledger = chain.books.ledger
    links = ledger.links(intent.events)
    writes = []
    for event_id in intent.events:
        # Its own link may be among the writes that are not committed yet.
        link = links.get(event_id, Link()).to(intent.identifier).to(None)
        writes.append(ledger.link(event_id, Link(None, link.past, cancelled=True)))
        writes += _over(ledger, link, taken_back=True)
    return writes


def _over(ledger: Ledger, link: Link, *, taken_back: bool) -> list[StateWrite]:
    """Make the writes that end the problems of earlier tries to take an event back."""
    return [ledger.problem(name, None) for name in link.past] if taken_back else []
