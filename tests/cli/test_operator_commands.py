"""`meter events` as a list, `replay`, `quarantine` and `acts`, as real processes."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cli.desk_site import METER, Site, T, install
from meter.clock import SystemClock
from meter.journal import Journal, Quarantined, Settlement, open_journal
from support.facts import NOON, completed, terminated


@pytest.fixture(scope="session")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("site"))


@pytest.fixture
def site(tmp_path: Path, plugin: Path) -> Site:
    return Site(tmp_path, plugin)


@pytest.fixture
def journal(site: Site) -> Iterator[Journal]:
    """Three events: delivered to the ledger, and of billing's one delivered, one held, one dead."""
    opened = open_journal(str(site.folder / "m.db"), SystemClock())
    opened.append(
        [
            completed("a", collector="import", model="slam-1"),
            completed("b", collector="import", customer_id="globex"),
            terminated("c", collector="import", occurred_at=NOON + timedelta(days=1)),
        ]
    ).wait()
    for name, kind in (("ledger", "sqlite"), ("billing", "desk")):
        opened.register_sink(name, kind, skip_existing=False, not_before=None).wait()
    now = SystemClock().now()
    opened.settle(Settlement("ledger", "new", 3, now, delivered=[1, 2, 3])).wait()
    opened.settle(
        Settlement(
            *("billing", "new", 3, now),
            delivered=[1],
            held={2: "no customer for 'globex'"},
            rejected={3: "no such meter"},
        )
    ).wait()
    yield opened
    opened.close()


def put(journal: Journal, key: str, payload: Any, **facts: Any) -> None:
    given: dict[str, Any] = {"reason": "no customer_id in the webhook URL", **facts}
    item = Quarantined("import", key, payload=json.dumps(payload), **given)
    journal.quarantine([item]).wait()


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


# -- meter events


def test_events_are_listed_newest_first_by_what_they_say_and_where_they_stand(
    site: Site, journal: Journal
) -> None:
    del journal

    def listed(*options: str) -> list[str]:
        found = lines(site.meter("events", *options, "--json").stdout)
        return [event["provider_id"] for event in found]

    assert listed() == ["c", "b", "a"]
    assert listed("--customer", "acme", "--kind", "async_completed") == ["a"]
    assert listed("pipelines.yaml", "--from", "2026-11-23") == ["c"]
    assert listed("--to", "2026-11-22T13:00+00:30") == ["b", "a"]
    assert listed("--sink", "billing", "--state", "held") == ["b"]
    told = site.meter("events", "--sink", "billing", "--limit", "2").stdout
    assert "seconds  billing\n" in told
    assert "  globex    " in told
    assert "\nthe newest 2; --limit shows more\n" in told


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--state", "held"), "--state needs --sink"),
        (("--sink", "biling"), "did you mean 'billing'?"),
        (("--from", "noon"), "'noon' is no time; write 2026-11-22"),
        ((f"{T}a", "--customer", "acme"), "--customer is for the list"),
    ],
)
def test_what_events_cannot_do_is_refused_with_the_way_out(
    site: Site, journal: Journal, arguments: tuple[str, ...], words: str
) -> None:
    del journal
    assert words in site.meter("events", *arguments, exits=2).stderr


def test_follow_shows_what_is_recorded_while_the_journal_is_busy_and_ends_with_130(
    site: Site, journal: Journal
) -> None:
    process = subprocess.Popen(
        [METER, "events", "-f", "--limit", "1", "--customer", "acme", "--json"],
        cwd=site.folder,
        env=site.environ(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["provider_id"] == "c"
        # Another process's transaction is under way: it is read past, and does not end it.
        busy = sqlite3.connect(site.folder / "m.db", isolation_level=None)
        busy.execute("BEGIN IMMEDIATE")
        busy.execute("UPDATE meta SET value = value WHERE key = 'probe'")
        assert process.poll() is None
        busy.execute("COMMIT")
        busy.close()
        journal.append([completed(n, customer_id=c) for n, c in (("y", "acme"), ("x", "no"))])
        assert json.loads(process.stdout.readline())["provider_id"] == "y"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert (process.returncode, out, err) == (130, "", "")


# -- meter dead-letters


def test_a_dead_letter_is_given_up_with_a_reason_and_is_no_trouble_any_more(
    site: Site, journal: Journal
) -> None:
    dead = "assemblyai:session:c"
    assert "needs --reason" in site.meter("dead-letters", "--discard", dead, exits=2).stderr
    assert site.json("dead-letters", "--customer", "globex", "--why", "NO SUCH") == []
    near = site.meter("dead-letters", "--discard", f"{dead}x", "--reason", "r", exits=1).stderr
    assert f"did you mean {dead}?" in near
    everything = ("dead-letters", "--discard-all", "--reason", "never billed")
    assert "nobody can be asked here" in site.meter(*everything, exits=2).stderr
    assert "1 dead letter given up: 1 of billing" in site.meter(*everything, "--yes").stdout
    (balance,) = (b for b in journal.totals().balances if b.sink == "billing")
    assert (balance.balances, balance.dead_lettered, balance.discarded) == (True, 1, 1)
    told = site.meter("status").stdout
    assert "of billing's dead letters, 1 was given up" in told
    assert "no such meter" not in told
    shown = site.meter("dead-letters", "--show", dead).stdout
    assert "\nbilling: discarded\n  no such meter\n  given up at" in shown
    assert " gave up for billing: never billed\n" in shown
    site.meter("dead-letters", "--retry", dead)
    assert [act.what for act in journal.acts.newest(9)] == ["retry", "discard"]


# -- meter replay


def test_a_replay_is_shown_asked_for_and_puts_back_what_the_destination_lost(site: Site) -> None:
    site.deliver()
    with closing(sqlite3.connect(site.folder / "usage.db", isolation_level=None)) as usage:
        usage.execute("DELETE FROM usage WHERE event_id IN (?, ?)", (f"{T}a", f"{T}b"))
    replay = ("replay", "--sink", "ledger")
    assert "nobody can be asked here" in site.meter(*replay, exits=2).stderr
    told = site.meter(*replay, "--customer", "ünï", "--dry-run").stdout
    assert "5 events that ledger took would be offered to it again" in told
    done = site.json(*replay, "--event", f"{T}a", "--yes", "--reason", "a row was deleted")
    assert (done["events"], done["replayed"]) == (1, 1)
    (balance,) = (b for b in site.json("status")["balances"] if b["sink"] == "ledger")
    assert (balance["checkpoint"], balance["retrying"], balance["balances"]) == (6, 1, True)
    site.deliver()
    with closing(sqlite3.connect(site.folder / "usage.db")) as usage:
        there = {name for (name,) in usage.execute("SELECT provider_id FROM usage")}
    assert there == {"a", "c", "d", "e"}, "b was not asked for, and each is there once"
    told = site.meter("events", f"{T}a").stdout
    assert "offered alone (replay): delivered\n" in told
    assert " replayed for ledger: a row was deleted\n" in told


def test_a_replay_that_the_guarantee_does_not_make_safe_needs_force_and_a_reason(
    site: Site, journal: Journal
) -> None:
    replay = ("replay", "--sink", "billing", "--yes")
    refused = site.meter(*replay, exits=2).stderr
    assert "Its guarantee is 'at least once'" in refused
    assert "needs --reason" in site.meter(*replay, "--force", exits=2).stderr
    forced = (*replay, "--force", "--reason", "the destination was emptied")
    refused = site.meter(*forced, "--event", f"{T}b", exits=1).stderr
    assert f"{T}b: it is held for billing" in refused
    assert site.json(*forced)["replayed"] == 1, "of three, the one that was delivered"
    (act,) = journal.acts.newest(9)
    assert (act.what, act.first, act.reason) == (
        "replay",
        f"{T}a",
        "the destination was emptied",
    )


# -- meter quarantine


FACTS = {"status": "completed", "audio_duration": 61}
JOB = {"query": "", "received_at": "2026-11-22T12:00:00Z", "transcript": FACTS}


def test_quarantine_is_listed_shown_and_cleared_one_by_one(site: Site, journal: Journal) -> None:
    put(journal, "transcript:t1:", JOB, provider_id="t1")
    put(journal, "transcript:t2:", JOB, provider_id="t2")
    put(journal, "receipt:9", {"fields": ["a\x1b[2J"]}, reason="a webhook of unknown shape")
    rows = site.json("quarantine", "list")
    assert [(r["id"], r["what"], r["can_assign"]) for r in rows] == [
        (3, "unknown webhook", False),
        (2, "job", True),
        (1, "job", True),
    ]
    shown = site.meter("quarantine", "show", "t1").stdout
    assert "to assign: meter quarantine assign 1 --customer CUSTOMER\n" in shown
    assert '"audio_duration": 61' in shown
    assert "a\\u001b[2J" in site.meter("quarantine", "show", "3").stdout
    unknown = site.meter("quarantine", "show", "5", exits=1).stderr
    assert "nothing of this ID in quarantine; the nearest: 3 (open: a webhook of" in unknown
    both = ("quarantine", "assign", "1", "3", "--customer", "acme")
    assert "3 (unknown webhook): it names no job" in site.meter(*both, exits=1).stderr
    assert journal.find(f"{T}t1") is None, "all of them or none"
    assert "1 (job): the provider has told everything" in (
        site.meter("quarantine", "retry", "1", exits=1).stderr
    )
    everything = ("quarantine", "discard", "--all", "--why", "SHAPE", "--reason", "not ours")
    assert site.meter(*everything, "--yes").stdout == "discarded: 3\n"
    assert "it is discarded already" in (
        site.meter("quarantine", "discard", "3", "--reason", "r", exits=1).stderr
    )
    assert [entry.id for entry in journal.aside.entries(limit=9)] == [2, 1]


def test_a_begin_that_is_assigned_opens_its_session_and_bills_the_termination_that_waits(
    site: Site, journal: Journal
) -> None:
    base: dict[str, Any] = {"session_id": "s", "customer_id": None, "dimensions": {}}
    base |= {"received_at": "2026-11-22T12:00:00Z"}
    put(journal, "posted:1", {"said": {"session_id": "s"}, **base}, provider_id="s")
    put(journal, "posted:2", {"said": {"seconds": 12.25}, **base}, provider_id="s")
    several = site.meter("quarantine", "show", "s", exits=1).stderr
    assert "say which by its ID: 2, 1" in several
    told = site.meter("quarantine", "assign", "1", "--customer", "acme").stdout
    assert "1: assemblyai:session:s, whose Termination had come, for acme\n" in told
    session = journal.sessions.find("s")
    assert session is not None
    assert (session.state, str(session.seconds)) == ("closed", "12.25")
    assert site.json("quarantine", "list") == []
