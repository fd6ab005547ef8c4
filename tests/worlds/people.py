"""What people do in a world when meter asks them to, or of their own accord."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from meter_stripe.ledger import Decision, Ledger, meter_ids
from worlds.draws import DAY

if TYPE_CHECKING:
    from worlds.draws import Usage
    from worlds.running import Run

REDRIVEN: Final = ("Stripe reported ", "Stripe: The meter for event name ")
"""How the reasons of dead letters begin that somebody redrives: what was wrong is put right."""
CANCELLED_UNTIL: Final = 30 * DAY


def redriven(run: Run) -> bool:
    """Do what a person does about dead letters; tell if there were any."""
    dead = [row.offset for row in run.rows("dead") if row.reason.startswith(REDRIVEN)]
    if dead:
        run.note(f"redrive {len(dead)}")
        run.seen["redriven"] += len(dead)
        run.journal.real.exceptions.redrive(run.name, dead, run.clock.now()).wait()
    return bool(dead)


def cancel(run: Run, event: Usage | None) -> None:
    """Do what `meter stripe cancel` does about an event, if it is delivered."""
    if event is None or (run.true.at - event.occurred_at).total_seconds() > CANCELLED_UNTIL:
        return
    state, now = run.state(), run.clock.now()
    ledgers = [Ledger(state, meter_id) for meter_id in meter_ids(state).values()]
    links = [(ledger, ledger.links([event.event_id]).get(event.event_id)) for ledger in ledgers]
    writes = [
        ledger.decide(event.event_id, Decision("cancel", "somebody", now))
        for ledger, link in links
        if link is not None and link.now is not None
    ]
    wanted = {event.event_id: "to be taken back"}
    exceptions = run.journal.real.exceptions
    places = {place.sink: place.state for place in exceptions.places(event.event_id)}
    if places.get(run.name) != "delivered":
        return  # the command refuses
    if writes and exceptions.recall(run.name, wanted, now, state=writes).wait():
        run.note(f"cancel {event.event_id}")
        run.seen["cancelled"] += event.event_id not in run.cancelled
        run.cancelled.add(event.event_id)


def cancelled_again(run: Run) -> bool:
    """Do what a person does about what was not taken back after all; tell if there was any."""
    state = run.state()
    asked = False
    for meter_id in meter_ids(state).values():
        for intent, words in Ledger(state, meter_id).problems():
            if words.startswith("taking back"):
                known = {event.event_id: event for _, event in run.used}
                cancel(run, known[intent.events[0]])
                asked = True
    return asked
