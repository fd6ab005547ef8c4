"""`meter reconcile` as people and programs use it."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.reconcile_site import EVENTS, FILE, Racing, S, Site, T
from meter.cli import cli
from meter.clock import SystemClock
from meter.journal import Settlement, open_journal
from meter.sinks import Written
from support.facts import NOON, completed


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path)
    made.deliver(*EVENTS)
    return made


def digests(folder: Path) -> dict[str, str]:
    """Return what every file holds; SQLite's own side files may come and go."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(("-wal", "-shm"))
    }


def test_where_everything_agrees_it_says_so_and_exits_0(site: Site) -> None:
    told = site.within().stdout
    assert told.splitlines()[-1] == (
        "no difference (journal 11, 664.5 s; ledger 11, 664.5 s; export 11, 664.5 s)"
    )


def test_each_difference_is_a_row_with_both_sides_and_what_puts_it_right(site: Site) -> None:
    site.sql("DELETE FROM usage WHERE event_id = ?", f"{T}t-1")
    site.sql(
        "UPDATE usage SET seconds = '70', microseconds = 70000000 WHERE event_id = ?", f"{S}s-2"
    )
    before = digests(site.folder)
    told = site.within(exits=1).stdout
    assert digests(site.folder) == before, "it changes nothing"
    rows = [" ".join(line.split()) for line in told.splitlines()]
    assert f"differs seconds {S}s-2 =évil\\x1b[2J 2026-11-22T12:00:00Z 61.5 70 +8.5" in rows, told
    assert f"missing there {T}t-1 acme 2026-11-22T13:00:00Z 60 s -60" in rows
    assert f"to put it right: meter replay --sink ledger --event {T}t-1" in rows
    assert rows[-1].startswith("2 differences (journal 11, 664.5 s; ledger 10, 613 s; export 11")
    assert "\x1b" not in told


def test_the_command_that_it_names_puts_a_missing_row_right(site: Site) -> None:
    site.sql("DELETE FROM usage WHERE event_id = ?", f"{T}t-1")
    (found,) = site.json(exits=1)["differences"]
    _, *words = found["put_right_by"].split()
    with contextlib.chdir(site.folder):
        ran = CliRunner().invoke(cli, [*words, "--yes"], obj=site.plugins)
    assert ran.exit_code == 0, ran.output
    assert site.side("ledger")["in_flight"] == {"being replayed": 1}
    site.deliver()
    assert site.json()["differences"] == []


def test_csv_has_every_difference_and_no_formula(site: Site) -> None:
    site.sql("DELETE FROM usage")
    table = site.within("--limit", "2", exits=1).stdout
    assert "and 9 more: --limit 11, or --format csv" in table
    text = site.within("--format", "csv", "--limit", "2", exits=1).stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 11
    assert {row["customer_id"] for row in rows} == {"acme", "'=évil\x1b[2J"}
    assert {row["seconds"] for row in rows} == {"-60", "-61.5"}
    assert "--from 2026-11-22 --to 2026-11-23" in rows[0]["put_right_by"]


@pytest.mark.parametrize(
    ("window", "missing"),
    [
        (("--from", "2026-11-22T19:00"), {"t-7"}),
        (("--to", "2026-11-22T13:00"), {"t-0"}),
        (("--month", "2026-11"), {"t-0", "t-7"}),
        (("--month", "2026-10"), set()),
    ],
)
def test_only_the_time_that_is_asked_for_is_compared(
    site: Site, window: tuple[str, ...], missing: set[str]
) -> None:
    site.sql("DELETE FROM usage WHERE event_id IN (?, ?)", f"{T}t-0", f"{T}t-7")
    told = site.told(*window, exits=1 if missing else 0)
    assert told == {("ledger", "missing_there", T + name) for name in missing}


def test_a_row_that_was_moved_to_another_time_is_found_from_either_side(site: Site) -> None:
    site.sql("UPDATE usage SET occurred_at = '2026-10-22T12:00:00Z' WHERE event_id = ?", f"{T}t-0")
    for month in ("2026-10", "2026-11"):
        assert site.told("--month", month) == {("ledger", "differs time", f"{T}t-0")}


def test_what_is_on_its_way_is_told_and_is_no_difference(site: Site) -> None:
    with closing(open_journal(str(site.folder / "m.db"), SystemClock())) as journal:
        new = [completed(f"n-{n}", collector="apps") for n in range(4)]
        journal.append(new).wait()
        first = journal.head() - 3
        journal.settle(
            Settlement(
                *("ledger", "new", journal.head(), NOON),
                held={first: "no customer"},
                rejected={first + 1: "bad"},
                filtered=(first + 2, first + 3),
            )
        ).wait()
    assert site.side("ledger")["in_flight"] == {"held": 1, "dead letter": 1}
    assert site.side("export")["in_flight"] == {"pending": 4}
    told = site.within().stdout
    assert "ledger: on the way, no difference: 1 held, 1 dead letter; meter dead-letters" in told
    site.sql(
        "INSERT INTO usage (event_id, kind, customer_id, seconds, microseconds, occurred_at)"
        " SELECT ?, kind, customer_id, seconds, microseconds, occurred_at FROM usage LIMIT 1",
        f"{T}n-1",
    )
    assert site.told() == {("ledger", "not_delivered", f"{T}n-1")}


def test_a_sink_without_the_interface_is_never_said_to_agree(site: Site) -> None:
    site.file(FILE.replace("ledger: {type: sqlite, path: usage.db}", "ledger: {type: silent}"))
    told = site.within("--sink", "ledger").stdout
    assert "cannot be read back" in told
    side = site.side("ledger")
    assert side["state"] == "unreadable"
    assert side["compared"] is None
    with closing(open_journal(str(site.folder / "m.db"), SystemClock())) as journal:
        journal.append([completed("new", collector="apps")]).wait()
    assert site.side("ledger")["in_flight"] == {"pending": 1}


def test_a_sink_that_fails_is_named_and_the_others_are_compared(site: Site) -> None:
    site.file(FILE.replace("ledger: {type: sqlite, path: usage.db}", "ledger: {type: broken}"))
    ran = site.within("--format", "json", exits=1)
    found = json.loads(ran.stdout)
    states = {side["name"]: (side["state"], side["reason"]) for side in found["sides"]}
    assert states["ledger"] == ("failed", "the warehouse sleeps")
    assert states["export"] == ("compared", None)
    assert "ledger could not be compared: the warehouse sleeps" in ran.stderr
    assert "not compared: ledger" in site.within(exits=1).stdout


def test_a_destination_that_is_gone_lacks_everything(site: Site) -> None:
    for path in (site.folder / "exports").iterdir():
        path.unlink()
    assert site.side("export", exits=1)["by_difference"] == {"missing_there": 11}
    (site.folder / "usage.db").write_bytes(b"no database at all, but some bytes of text")
    assert "is not a SQLite database" in site.side("ledger", exits=1)["reason"]


@pytest.mark.parametrize("settled", [1, 2, 9])
def test_a_delivery_under_way_is_not_accused_and_one_that_stays_so_is(
    site: Site, settled: int
) -> None:
    """Its row is there at the first look; the journal knows of it after so many."""
    site.file(FILE.replace("ledger: {type: sqlite, path: usage.db}", "racing: {type: racing}")
              .replace("[ledger", "[racing"))  # fmt: skip
    event = completed("under-way", collector="apps")
    with closing(open_journal(str(site.folder / "m.db"), SystemClock(), run=True)) as journal:
        journal.register_sink("racing", "racing", skip_existing=False, not_before=None).wait()
        journal.settle(
            Settlement("racing", "new", journal.head(), NOON, filtered=range(1, journal.head() + 1))
        ).wait()

        def settle() -> None:
            head = journal.head()
            journal.settle(Settlement("racing", "new", head, NOON, delivered=[head])).wait()

        def record() -> None:
            journal.append([event]).wait()
            Racing.rows = [
                Written(event.event_id, event.customer_id, seconds=event.seconds, kind=event.kind)
            ]

        turns: list[list[Callable[[], None]]] = [[record], [], [], [], []]
        if settled < len(turns):
            turns[settled - 1].append(settle)
        Racing.rows, Racing.turns = [], turns
        told = site.told("--sink", "racing", exits=int(settled == 9))
    accused = {("racing", "not_delivered", event.event_id)} if settled == 9 else set()
    assert told == accused


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--sink", "lodger"), "did you mean 'ledger'?"),
        (("--collector", "apps"), "only a webhook collector has a list to compare"),
        (("--month", "2026-11", "--to", "2026-11-02"), "--month stands alone"),
        (("--month", "November"), "expected a month such as 2026-11"),
        (("--from", "2026-11-02", "--to", "2026-11-02"), "expected to be later than --from"),
        (("--mapping", "m.yaml"), "--mapping is about a file that --usage names"),
        (("--usage", "none.json"), "none.json: no such file"),
    ],
)
def test_a_command_line_that_cannot_be_used_says_why(
    site: Site, arguments: tuple[str, ...], words: str
) -> None:
    assert words in site.within(*arguments, exits=2).stderr


def test_without_a_journal_there_is_nothing_to_compare(tmp_path: Path) -> None:
    plugins = Site(tmp_path).plugins
    with contextlib.chdir(tmp_path):
        ran = CliRunner().invoke(cli, ["reconcile"], obj=plugins)
    assert ran.exit_code == 4
    assert "there is no journal" in ran.stderr
