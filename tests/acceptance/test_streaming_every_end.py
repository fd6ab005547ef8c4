"""However a session ends: it stands in one state, is billed at most once, and exactly if at all.

A sample runs with the other tests. The whole of it:

    METER_STREAMS=300 pytest tests/acceptance/test_streaming_every_end.py --timeout=900

METER_SEED=<number> chooses other ends and other moments.
"""

import logging
import os
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from acceptance.books import rows
from acceptance.process import API_KEY, Meter, free_port, wait_until
from acceptance.streaming import THE_SDKS_OWN, TOKEN_SECRET, Loop, relayed
from acceptance.streaming_books import Found, billed, found_in, in_journal, in_sinks
from acceptance.streaming_ends import (
    ENDS,
    PLANS,
    UNUSABLE,
    Attempt,
    Fate,
    Stage,
    carry_out,
    kill_an_application,
    leave_at_once,
)
from meter.sandbox.stream_books import StreamTruth
from meter.sandbox.stream_plans import StreamPlan
from meter.sandbox.streaming import StreamingSandbox

pytestmark = [pytest.mark.acceptance, *THE_SDKS_OWN]

log = logging.getLogger(__name__)

STREAMS = int(os.environ.get("METER_STREAMS", "50"))
SEED = int(os.environ.get("METER_SEED", "1"))
AT_ONCE = 20
"""Sessions in one round; a round ends when all of them have, and with it perhaps meter."""
MOMENT = timedelta(seconds=1)
"""What the provider sent so shortly before `kill -9` may have been read, or not."""
TIME_SCALE = 60
"""A session of half a second is billed as half a minute, so that bounds mean something."""
OPTIONS = {"termination_timeout": "1s", "idle_timeout": "2s"}


@pytest.fixture(autouse=True)
def _token_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METER_TOKEN_SECRET", TOKEN_SECRET)


@pytest.fixture
def loop() -> Iterator[Loop]:
    with Loop() as loop:
        yield loop


# -- rounds ----------------------------------------------------------------------------------------


def fates(chance: Random) -> Iterator[Fate]:
    """Yield how meter fares in each round: every third of them the same, in any order."""
    kinds: list[Fate] = ["SIGKILL", "SIGTERM", "lives"]
    while True:
        chance.shuffle(kinds)
        yield from kinds


def play(stage: Stage, fate: Fate, number: int, chance: Random) -> tuple[list[Attempt], datetime]:
    """Have some sessions begin and end, and meter with them if that is its fate, and when."""
    names = [f"round-{number}-client-{count}" for count in range(AT_ONCE)]
    crowd = 3
    ends = chance.choices([e for e, _ in ENDS], [w for _, w in ENDS], k=AT_ONCE - crowd - 1)
    attempts = [Attempt(name, "application killed", fate) for name in names[:crowd]]
    attempts.append(Attempt(names[crowd], "left at once", fate))
    attempts += [
        Attempt(name, end.__name__, fate)
        for name, end in zip(names[crowd + 1 :], ends, strict=True)
    ]
    before = len(stage.double.truth())
    with ThreadPoolExecutor(AT_ONCE) as pool:
        jobs = [
            pool.submit(kill_an_application, stage, attempts[:crowd], Random(chance.random())),
            pool.submit(leave_at_once, stage, attempts[crowd], Random(chance.random())),
        ]
        for attempt, end in zip(attempts[crowd + 1 :], ends, strict=True):
            (plan,) = chance.choices([p for p, _ in PLANS], [w for _, w in PLANS])
            own = Random(chance.random())
            jobs.append(pool.submit(carry_out, stage, attempt, end, plan, own))
        if fate != "lives":
            wait_until(lambda: len(stage.double.truth()) >= before + AT_ONCE // 3)
            time.sleep(chance.uniform(0, 1.5))
        at = datetime.now(UTC)
        if fate == "SIGTERM":
            assert stage.meter.stop(seconds=20) == 0
        elif fate == "SIGKILL":
            stage.meter.kill()
        for job in jobs:
            job.result()
    return attempts, at


# -- the verdict -----------------------------------------------------------------------------------


def judge(
    row: StreamTruth, attempt: Attempt, plan: StreamPlan, found: Found, killed_at: datetime | None
) -> str:
    """Check what became of one session that the provider knows, and return it.

    `killed_at` is when meter was killed in this session's round, if it was. Where it was not, and
    the provider neither ended the session itself nor keeps its Terminations, there is a
    Termination, whatever the client did. What is allowed:

    - **closed**: only where the provider sent a Termination, and with its figures.
    - **quarantined**: only where its Termination was unusable.
    - **abandoned**: with bounds that hold the truth. Where the provider sent a Termination this
      is allowed only if meter was killed, the client had not seen that Termination, and it was
      sent no longer than `MOMENT` before the kill: nobody knows whether meter had read it.
    - **unseen**: only where meter was killed before it recorded the Begin, or where there was
      none. That the session was asked for is in quarantine then, once, under its customer.
    - nothing at all: only where the provider ended it itself before its Begin.
    """
    about = f"{attempt} {plan} {row} killed at {killed_at}"
    states, bills = found.states[row.session_id], found.bills[row.session_id]
    bounds, unseen = found.bounds[row.session_id], found.unseen[attempt.name]
    assert row.ended_at is not None, about
    begun = (row.ended_at - row.started_at).total_seconds() > plan.begin_delay_seconds
    assert len(bills) <= 1, about
    assert len(bounds) <= 1, about
    if not begun and not states and not unseen:
        assert row.ended in ("error", "expired"), about
        return "never begun"
    assert len(states) + unseen == 1, f"in {states}, {unseen} times unseen: {about}"
    state = states[0] if states else "unseen"
    assert bool(bills) == (state == "closed"), about
    raced = (
        killed_at is not None and not attempt.saw_termination and row.ended_at > killed_at - MOMENT
    )
    if killed_at is None and begun and row.ended in ("terminated", "client_gone"):
        withheld = plan.no_termination or plan.ignore_terminate
        assert row.termination_sent is not withheld, f"meter did not see it through: {about}"
    if row.termination_sent and not raced:
        assert state == ("quarantined" if plan in UNUSABLE else "closed"), about
    match state:
        case "closed":
            (bill,) = bills
            assert row.termination_sent, about
            assert bill["seconds"] == row.session_seconds, about
            assert bill["audio_seconds"] == row.audio_seconds, about
            assert bill["customer_id"] == attempt.name, about
        case "abandoned":
            (bound,) = bounds
            assert bound["lower_seconds"] <= row.session_seconds <= bound["upper_seconds"], about
            assert bound["customer_id"] == attempt.name, about
        case "quarantined":
            assert plan in UNUSABLE, about
            assert row.termination_sent, about
            assert found.unusable[row.session_id] == 1, about
        case "unseen":
            assert killed_at is not None or not begun, about
        case _:
            raise AssertionError(f"{state}: {about}")
    return f"{state} (raced)" if raced and row.termination_sent else state


def test_each_session_is_in_one_state_and_billed_exactly_or_bounded_whatever_ended_it(
    meter: Meter, loop: Loop
) -> None:
    chance = Random(f"{SEED}/streams")
    port = free_port()
    attempts: dict[str, Attempt] = {}
    killed: dict[str, datetime] = {}
    with StreamingSandbox(
        keys={API_KEY}, heartbeat_seconds=0.1, time_scale=TIME_SCALE, seed=SEED
    ) as double:
        meter.configure(relayed(double.url, port=port, **OPTIONS))
        stage = Stage(meter, double, loop, port)
        for number, fate in enumerate(fates(chance)):
            if len(double.truth()) >= STREAMS:
                break
            if meter.has_ended():
                meter.start()
            played, at = play(stage, fate, number, chance)
            attempts |= {attempt.name: attempt for attempt in played}
            if fate == "SIGKILL":
                killed |= {attempt.name: at for attempt in played}
                if chance.random() < 0.5:  # and again, while it settles what the first one left
                    meter.spawn()
                    time.sleep(chance.uniform(0.3, 1))
                    meter.kill()
        if meter.has_ended():
            meter.start()
        wait_until(lambda: not double.live(), showing=double.live)
        assert meter.stop() == 0
        meter.start()
        wait_until(lambda: at_rest(meter), showing=lambda: meter.status()[1])
        code, status = meter.status()
        assert meter.stop() == 0
        truth = double.truth()

    found = found_in(meter.folder)
    by_name = {row.params["prompt"]: row for row in truth}
    assert len(by_name) == len(truth), "a client came twice"
    outcomes = Counter(
        (
            attempts[name].end,
            attempts[name].fate,
            judge(row, attempts[name], stage.plans[row.session_id], found, killed.get(name)),
        )
        for name, row in by_name.items()
    )
    assert set(found.states) <= {row.session_id for row in truth}
    assert found.other == []
    lived: list[str] = []
    for name in attempts.keys() - by_name.keys():  # the provider knows of none
        assert found.unseen[name] <= 1, attempts[name]
        if found.unseen[name] and name not in killed:
            lived.append(name)
        outcomes[attempts[name].end, attempts[name].fate, "no session"] += 1

    # A meter that is stopped, be it in a later round, while it waits for the provider's answer
    # cannot know that there was no session; but that is rare.
    assert len(lived) <= STREAMS // 50, lived

    expected = sorted(
        billed(
            row.session_id,
            name,
            row.session_seconds,
            row.audio_seconds,
            found.bills[row.session_id][0]["dimensions"],
        )
        for name, row in by_name.items()
        if found.bills[row.session_id]
    )
    assert in_journal(meter.folder) == expected
    assert in_sinks(meter.folder) == (expected, expected)
    assert code == 0
    assert all(balance["balances"] for balance in status["balances"])
    assert not any("traceback" in line for line in meter.logs())
    assert len(expected) > STREAMS // 4
    log.info("seed %d: %d sessions of %d clients", SEED, len(truth), len(attempts))
    for outcome, count in sorted(outcomes.items()):
        log.info("%4d  %s", count, " | ".join(outcome))


def at_rest(meter: Meter) -> bool:
    _, status = meter.status()
    still_open = rows(meter.folder / "meter.db", "SELECT 1 FROM sessions WHERE state = 'open'")
    openings = rows(meter.folder / "meter.db", "SELECT 1 FROM openings")
    pending = any(b["pending"] or b["retrying"] for b in status["balances"])
    return not (still_open or openings or pending)
