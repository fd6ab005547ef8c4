"""`meter events`, `dead-letters`, `status` and `check --connect`, as real processes."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from cli.desk_site import FILE, KEY, METER, Site, T, install
from meter.clock import SystemClock
from meter.journal import Quarantined, open_journal
from support.facts import begun
from support.waiting import eventually


@pytest.fixture(scope="session")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("site"))


@pytest.fixture
def new(tmp_path: Path, plugin: Path) -> Site:
    return Site(tmp_path, plugin)


@pytest.fixture
def site(new: Site) -> Site:
    new.deliver()
    return new


@pytest.fixture
def running(site: Site) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [METER, "run", "--log-level", "error"], cwd=site.folder, env=site.environ()
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def states(site: Site, reference: str) -> dict[str, str | None]:
    return {s["sink"]: s["state"] for s in site.json("events", reference)["sinks"]}


# -- meter events


@pytest.mark.parametrize(
    ("event", "ledger", "billing"),
    [
        ("a", "delivered", "dead"),
        ("c", "delivered", "held"),
        ("d", "delivered", "retrying"),
        ("e", "delivered", "delivered"),
        ("f:failed", "filtered", "filtered"),
    ],
)
def test_an_event_is_shown_with_its_place_at_every_sink(
    site: Site, event: str, ledger: str, billing: str
) -> None:
    assert states(site, T + event) == {"ledger": ledger, "billing": billing}


def test_an_event_is_shown_in_full_with_what_the_sinks_say_of_it(site: Site) -> None:
    site.says(explain={f"{T}c": ["intent i-1: waits"], f"{T}a": ["refused twice"]})
    told = site.meter("events", f"{T}c").stdout
    for words in (
        f"{T}c\n",
        "  customer_id    ünï\n",
        "  seconds        60\n",
        "  recorded_at    2026-11-22T12:00:00Z\n",
        "  offset         3\n",
        "\nledger: delivered\n",
        "\nbilling: held\n  no customer for 'ünï'\\x1b[2J\n  since 20",
        "; offered again at 20",
        "  intent i-1: waits\n",
    ):
        assert words in told, (words, told)
    dead = site.meter("events", f"{T}a").stdout
    assert "billing: dead\n  no such meter\n" in dead
    assert f"to free it: meter dead-letters --retry {T}a\n  refused twice\n" in dead
    waiting = site.meter("events", f"{T}d").stdout
    assert "billing: waiting for its time\n  waits for its minute\n" in waiting
    (found,) = (s for s in site.json("events", f"{T}d")["sinks"] if s["sink"] == "billing")
    assert (found["exception"]["put_off"], found["exception"]["attempts"]) == (True, 0)


def test_an_event_of_a_sink_that_never_ran_or_left_the_file_is_told_apart(site: Site) -> None:
    text = FILE.replace("  ledger: {type: sqlite, path: usage.db}", "  new: {type: csv, path: x}")
    (site.folder / "other.yaml").write_text(text.replace("[ledger", "[new"))
    told = site.meter("events", f"{T}a", "other.yaml").stdout
    assert "\nnew: not started yet\n" in told
    assert "\nledger: delivered (not in the file)\n" in told
    assert f"meter dead-letters other.yaml --retry {T}a" in told


def test_a_sink_that_cannot_explain_is_named_and_the_others_go_on(site: Site) -> None:
    site.says(explain="bug: cannot count")
    told = site.meter("events", f"{T}e").stdout
    assert "ledger: delivered" in told
    assert "could not say more: plugin desk (meter-desk 1.0): RuntimeError: cannot count" in told


def test_a_name_that_only_the_destination_knows_is_asked_of_the_sinks(site: Site) -> None:
    site.says(explain={"mid_1": [f"sent for {T}a", "answered 400"]})
    told = site.meter("events", "mid_1").stdout
    assert "mid_1 is no event of this journal" in told
    assert f"\nbilling\n  sent for {T}a\n  answered 400\n" in told
    assert "ledger" not in told
    document = site.json("events", "mid_1")
    assert document["event"] is None
    assert document["sinks"][1]["lines"] == [f"sent for {T}a", "answered 400"]


def test_a_name_that_nobody_knows_exits_1_with_the_nearest_help(site: Site) -> None:
    site.says(explain="fatal: the books are closed")
    with_help = {
        "a": f"did you mean {T}a?",
        "nothing\x1b[2J": "an event id is assemblyai:transcript:<id>",
        f"{T}q": "q from import is in quarantine",
        "assemblyai:session:s": "s is a streaming session that is open: `meter sessions`",
    }
    journal = open_journal(str(site.folder / "m.db"), SystemClock())
    journal.quarantine([Quarantined("import", "k", "no customer", "{}", provider_id="q")]).wait()
    now = SystemClock().now()
    session = begun("s", started_at=now, expires_at=now + timedelta(hours=3))
    journal.sessions.open(session).wait()
    journal.close()
    for reference, words in with_help.items():
        ran = site.meter("events", reference, exits=1)
        assert "meter: nobody knows" in ran.stderr
        assert "billing could not say: the books are closed" in ran.stderr
        assert words in ran.stderr
        assert ran.stdout == ""
    assert site.json("events", "nothing", exits=1)["event"] is None


# -- meter dead-letters


def test_dead_letters_are_listed_with_whose_they_are_and_why(site: Site) -> None:
    listed = site.meter("dead-letters").stdout
    assert f"billing  {T}a  ünï            60  20" in listed
    assert "Z  no such meter" in listed
    assert "offer them again: meter dead-letters --retry EVENT, or --retry-all" in listed
    rows = site.json("dead-letters")
    assert [(r["event_id"], r["seconds"], r["attempts"]) for r in rows] == [
        (f"{T}a", "60", 1),
        (f"{T}b", "60", 1),
    ]
    assert len(site.json("dead-letters", "--limit", "1")) == 1
    assert "the first 1; --limit shows more" in site.meter("dead-letters", "--limit", "1").stdout
    assert site.json("dead-letters", "--sink", "ledger") == []
    assert site.meter("dead-letters", "--sink", "ledger").stdout == "no dead letters\n"


def test_a_sink_that_is_not_in_the_file_is_refused_by_name(site: Site) -> None:
    ran = site.meter("dead-letters", "--sink", "biling", exits=2)
    assert "no sink 'biling' there; did you mean 'billing'?; known: billing, ledger" in ran.stderr


def test_what_is_no_dead_letter_is_refused_by_name_and_nothing_is_freed(site: Site) -> None:
    ran = site.meter(
        *("dead-letters", "--retry", f"{T}a", "--retry", f"{T}c", "--retry", "nonsense"), exits=1
    )
    assert f"{T}c: no dead letter, but held for billing, delivered for ledger" in ran.stderr
    assert "nonsense: no such event" in ran.stderr
    assert len(site.json("dead-letters")) == 2
    ran = site.meter("dead-letters", "--sink", "ledger", "--retry", f"{T}a", exits=1)
    assert f"{T}a: no dead letter, but delivered for ledger" in ran.stderr
    assert site.meter("dead-letters", "--retry", f"{T}a", "--retry-all", exits=2).stdout == ""


def test_a_retry_without_a_running_meter_says_what_to_do(site: Site) -> None:
    site.says(events={f"{T}b": "rejected: no such meter yet"})
    told = site.meter("dead-letters", "--retry", f"{T}a").stdout
    assert "1 dead letter will be offered again: 1 of billing" in told
    assert "no `meter run` works on this journal; deliver now: meter run --once" in told
    assert site.json("dead-letters", "--retry-all", "--sink", "billing") == {
        "freed": 1,
        "sinks": {"billing": 1},
        "running": False,
    }
    assert site.meter("dead-letters", "--retry-all").stdout == "no dead letters\n"
    site.deliver()
    assert states(site, f"{T}a")["billing"] == "delivered"
    (dead,) = site.json("dead-letters")
    assert (dead["event_id"], dead["reason"]) == (f"{T}b", "no such meter yet")
    assert dead["attempts"] == 2


def test_a_running_meter_picks_a_retry_up(site: Site, running: subprocess.Popen[bytes]) -> None:
    site.says(events={})
    eventually(lambda: (site.folder / "m.db.lock").read_text().strip() == str(running.pid))
    told = site.meter("dead-letters", "--retry-all").stdout
    assert "2 dead letters will be offered again" in told
    assert "the running `meter run` does it within a second" in told
    eventually(lambda: states(site, f"{T}a")["billing"] == "delivered")
    eventually(lambda: states(site, f"{T}b")["billing"] == "delivered")


# -- meter status


def test_status_says_why_and_what_to_do(site: Site) -> None:
    site.says(status=["bills for account acct_1", "2 intents are open"])
    told = site.meter("status").stdout
    assert "oldest unsettled\n" in told
    billing = told[told.index("\nbilling\n") :].splitlines()
    assert billing[2:] == [
        "  dead           2  no such meter",
        "  held           1  no customer for 'ünï'\\x1b[2J",
        "  waiting        1  waits for its minute",
        "  bills for account acct_1",
        "  2 intents are open",
        "  to see the dead letters, and offer them again: meter dead-letters --sink billing",
        f"  to see one event in full: meter events {T}a",
    ]
    assert "\nledger\n" not in told, "nothing is the matter there"
    document = site.json("status")
    assert document["sinks"] == {
        "ledger": [],
        "billing": ["bills for account acct_1", "2 intents are open"],
    }
    assert document["faults"] == {}
    assert {(r["state"], r["count"], r["put_off"]) for r in document["reasons"]} == {
        ("dead", 2, False),
        ("held", 1, False),
        ("retrying", 1, True),
    }
    (balance,) = (b for b in document["balances"] if b["sink"] == "billing")
    assert balance["oldest_unsettled"].startswith("2026-11-22")


def test_what_merely_waits_is_no_alarm(site: Site) -> None:
    site.says(events={f"{T}d": "later: waits for its minute"})
    site.meter("dead-letters", "--retry-all")
    site.deliver()
    told = site.meter("status").stdout
    assert told.endswith("\nbilling\n  waiting        1  waits for its minute\n")


def test_status_shows_ten_reasons_of_a_sink_and_how_many_more(new: Site) -> None:
    new.delivers([f"held: reason {n}" for n in range(30)])
    told = new.meter("status").stdout
    assert told.count("  reason ") == 10
    assert "  and 20 more events, for 20 other reasons\n" in told


def test_status_shows_each_place_before_it_cuts(new: Site) -> None:
    held = [f"held: reason {n}" for n in range(12)]
    new.delivers([*held, "rejected: no such meter", *["later: waits for its minute"] * 15])
    told = new.meter("status").stdout
    shown = told[told.index("\nbilling\n") :].splitlines()[2:]
    assert [line.split()[0] for line in shown[:10]] == ["dead", *["held"] * 8, "waiting"]
    assert shown[10] == "  and 4 more events, for 4 other reasons"


def test_a_sink_that_cannot_say_how_it_stands_is_named_and_the_rest_is_shown(site: Site) -> None:
    site.says(status="bug: no such file")
    told = site.meter("status").stdout
    error = "plugin desk (meter-desk 1.0): RuntimeError: no such file"
    assert f"  cannot say how it stands: {error}\n" in told
    assert "  dead           2  no such meter" in told
    document = site.json("status")
    assert (document["faults"], document["sinks"]["billing"]) == ({"billing": error}, [])


# -- meter check --connect


def test_check_connect_tries_every_sink_and_makes_no_journal(new: Site) -> None:
    new.says(check=["key is a test key"])
    told = new.meter("check", "--connect", key=True).stdout
    rows = [" ".join(line.split()) for line in told.splitlines()]
    assert f"sinks.ledger ok {new.folder / 'usage.db'} can be made" in rows
    at = rows.index("sinks.billing ok key is a test key")
    assert rows[at + 1] == f"ok key of {len(KEY)} characters, 0 things remembered"
    assert not (new.folder / "m.db").exists()
    assert "can be made" not in new.meter("check", key=True).stdout


def test_check_connect_reads_what_the_sink_remembers(site: Site) -> None:
    journal = open_journal(str(site.folder / "m.db"), SystemClock())
    state = journal.sink_state("billing", "desk")
    state.commit([state.put("a", "1")])
    journal.close()
    assert ", 1 things remembered" in site.meter("check", "--connect", key=True).stdout


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("fatal: 401: look at key", "401: look at key"),
        ("retry: no answer", "no answer"),
        ("bug: odd", "plugin desk (meter-desk 1.0): RuntimeError: odd"),
    ],
)
def test_check_connect_exits_1_when_a_sink_fails_and_tries_the_others(
    new: Site, said: str, words: str
) -> None:
    new.says(check=said)
    told = new.meter("check", "--connect", key=True, exits=1).stdout
    rows = [" ".join(line.split()) for line in told.splitlines()]
    at = rows.index(f"sinks.billing WRONG {words}")
    assert rows[at - 1].startswith("sinks.ledger ok ")
    place = "look at key: pipelines.yaml:7:47, from ${DESK_KEY}"
    assert (rows[at + 1] == place) is ("key" in words), "the name of a secret is looked up"


def test_check_connect_needs_the_real_secrets(new: Site) -> None:
    assert "DESK_KEY" in new.meter("check", "--connect", exits=2).stderr
    assert "exclude" in new.meter("check", "--connect", "--schema", exits=2, key=True).stderr
