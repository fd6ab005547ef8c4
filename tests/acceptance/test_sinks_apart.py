"""A sink's failure is its own: the others and the collectors do not notice."""

import sqlite3
from contextlib import closing
from typing import Any

import pytest

from acceptance import books
from acceptance.events import events, write_events
from acceptance.packages import Stranger
from acceptance.process import API_KEY, HEADER, HOOK, SECRET, Meter, pipelines, wait_until
from meter.sandbox.customers import submit_jobs
from meter.sandbox.double import AssemblyAISandbox
from meter.sandbox.webhooks import WebhookRules

pytestmark = pytest.mark.acceptance

JOBS = 30


def submit(double: AssemblyAISandbox, meter: Meter, seed: int) -> None:
    submit_jobs(
        base_url=double.base_url,
        api_key=API_KEY,
        webhook_url=meter.url + HOOK,
        secret_header=HEADER,
        secret=SECRET,
        jobs=JOBS,
        seed=seed,
        on_progress=lambda _done, _total: None,
    )


def test_a_sink_that_raises_for_ever_delays_nobody_and_repaired_catches_up_by_itself(
    meter: Meter, stranger: Stranger
) -> None:
    with AssemblyAISandbox(latency=0.05, rules=WebhookRules(retry_wait=0.2)) as double:
        meter.configure(pipelines(double.base_url, sinks={"theirs": stranger.options}))
        stranger.feels("broken")
        meter.start()
        for seed in (1, 2):
            submit(double, meter, seed)
            wait_until(lambda n=seed * JOBS: books.rows_delivered(meter.folder) == (n, n))  # type: ignore[misc]  # a loop's value, bound now
        wait_until(lambda: len(meter.logs("sink.failed")) >= 2)
        assert stranger.delivered() == []
        code, status = meter.status()
        theirs = {b["sink"]: b for b in status["balances"]}["theirs"]
        assert (code, theirs["delivered"]) == (0, 0)
        assert theirs["pending"] + theirs["retrying"] == 2 * JOBS

        stranger.feels("well")
        wait_until(lambda: len(stranger.delivered()) >= 2 * JOBS, seconds=60)
        expected = books.billed(double.truth())
        wait_until(lambda: not open_work(meter))
        code, status = meter.status()
        assert meter.stop() == 0
    assert code == 0
    assert {(b["sink"], b["delivered"]) for b in status["balances"]} == {
        ("ledger", 2 * JOBS),
        ("export", 2 * JOBS),
        ("theirs", 2 * JOBS),
    }
    assert stranger.delivered() == [row.event_id for row in expected]
    assert books.in_sqlite(meter.folder / "usage.db") == expected
    assert books.in_csv(meter.folder / "exports") == expected


def open_work(meter: Meter) -> bool:
    return any(b["pending"] or b["retrying"] for b in meter.status()[1]["balances"])


def imported(meter: Meter, stranger: Stranger, count: int = 50) -> list[books.Usage]:
    """Configure an import into ledger, export and theirs; answer what they must hold."""
    source = {"type": "jsonl", "path": "events.jsonl"}
    sinks = {"theirs": stranger.options}
    meter.configure(pipelines(collectors={"import": source}, sinks=sinks))
    return write_events(meter.folder / "events.jsonl", events(count))


def test_one_poisonous_event_stands_aside_and_every_other_is_delivered(
    meter: Meter, stranger: Stranger
) -> None:
    expected = imported(meter, stranger)
    stranger.feels("poison job-000017")
    done = meter.once()
    poison = "assemblyai:transcript:job-000017"
    others = [row.event_id for row in expected if row.event_id != poison]
    assert stranger.delivered() == others
    assert done.returncode == 1
    assert "sink theirs: 1 retrying" in done.stderr
    assert meter.status()[0] == 0

    stranger.feels("well")
    meter.start()
    wait_until(lambda: len(stranger.delivered()) == len(expected))
    wait_until(lambda: not open_work(meter))
    assert meter.stop() == 0
    assert stranger.delivered() == [row.event_id for row in expected]
    assert meter.status()[0] == 0


@pytest.mark.parametrize(
    ("mood", "said"),
    [
        ("refuses job-000003", "sink theirs: 1 dead-lettered"),
        ("busy", "sink theirs: 50 pending"),
        ("broken", "sink theirs: 50 pending"),
        ("fatal", "parked: nobody is home"),
    ],
)
def test_once_exits_1_and_says_so_when_a_sink_did_not_get_everything(
    meter: Meter, stranger: Stranger, mood: str, said: str
) -> None:
    expected = imported(meter, stranger)
    stranger.feels(mood)
    done = meter.once()
    assert done.returncode == 1, done.stderr
    assert said in done.stderr
    assert books.in_sqlite(meter.folder / "usage.db") == expected
    assert books.in_csv(meter.folder / "exports") == expected
    assert meter.status()[0] == 0


def test_the_log_says_why_a_sink_does_not_deliver(meter: Meter, stranger: Stranger) -> None:
    imported(meter, stranger)
    meter.start()
    wait_until(lambda: len(stranger.delivered()) == 50)
    (opened,) = [line for line in meter.logs("sink.opened") if line["sink"] == "theirs"]
    assert opened["checkpoint"] == 0
    assert meter.stop() == 0

    write_events(meter.folder / "events.jsonl", events(60))
    stranger.feels("broken")
    meter.start()
    wait_until(lambda: meter.logs("sink.failed"))
    assert meter.stop() == 0
    failure = meter.logs("sink.failed")[0]
    assert failure["error"] == "ZeroDivisionError: broken for ever"
    assert failure["retry_in_seconds"] > 0


def test_an_event_is_not_given_up_on_while_its_sink_takes_nothing_at_all(
    meter: Meter, stranger: Stranger
) -> None:
    imported(meter, stranger, 3)
    stranger.feels("silent")
    meter.once()
    assert theirs(meter)["retrying"] == 3
    # What half an hour of attempts leaves behind.
    with closing(sqlite3.connect(meter.folder / "meter.db")) as journal, journal:
        journal.execute("UPDATE exceptions SET attempts = 9, next_at = 0")

    stranger.feels("broken")
    meter.start()
    wait_until(lambda: tries(meter) >= {10})
    assert theirs(meter)["dead_lettered"] == 0
    assert theirs(meter)["retrying"] == 3


def theirs(meter: Meter) -> dict[str, Any]:
    (found,) = [b for b in meter.status()[1]["balances"] if b["sink"] == "theirs"]
    return dict(found)


def tries(meter: Meter) -> set[int]:
    found = books.rows(meter.folder / "meter.db", "SELECT min(attempts) FROM exceptions")
    return {attempts for (attempts,) in found}
