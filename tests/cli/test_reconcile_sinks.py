"""What `meter reconcile` makes of each destination: torn tails, archives, files that are gone."""

from __future__ import annotations

import contextlib
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.reconcile_site import EVENTS, FILE, Site, T
from meter.cli import cli
from meter.clock import SystemClock
from meter.journal import open_journal
from meter.sandbox.stripe_rules import StripeRules
from meter.sandbox.stripe_sandbox import StripeSandbox
from support.facts import NOON, completed

LEDGER = "ledger: {type: sqlite, path: usage.db}"
LAKE = "ledger: {type: parquet, path: lake, every: 0s}"
needs_pyarrow = pytest.mark.skipif(
    find_spec("pyarrow") is None, reason="pyarrow is not installed: the sink parquet needs it"
)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path)
    made.deliver(*EVENTS)
    return made


# -- SQLite -------------------------------------------------------------------------------------


def test_a_table_is_read_while_somebody_writes_to_it(site: Site) -> None:
    with closing(sqlite3.connect(site.folder / "usage.db", isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM usage")
        assert site.told(exits=0) == set(), "what is not committed is not there"
        writer.execute("ROLLBACK")


def test_a_database_that_cannot_be_written_is_read(site: Site) -> None:
    path = site.folder / "usage.db"
    path.chmod(0o400)
    assert site.told("--sink", "ledger", exits=0) == set()


def test_a_table_of_another_name_is_no_table_of_the_sinks(site: Site) -> None:
    site.sql("DROP VIEW usage_by_month")
    site.sql("ALTER TABLE usage RENAME TO archive")
    assert "has no table usage" in site.side("ledger", exits=1)["reason"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("seconds = 'sixty'", "unreadable"),
        ("seconds = NULL", "unreadable"),
        ("seconds = NULL, microseconds = NULL", "differs seconds"),
        ("microseconds = 1", "unreadable"),
        ("seconds = '60.0'", None),
        ("seconds = 60, microseconds = 60000000", None),
        ("seconds = 'NaN'", "unreadable"),
        ("customer_id = x'ff'", "differs customer"),
        ("occurred_at = 5", "unreadable"),
        ("model = 'another'", None),
    ],
)
def test_what_a_row_says_is_compared_as_it_is_meant(
    site: Site, change: str, told: str | None
) -> None:
    site.sql(f"UPDATE usage SET {change} WHERE event_id = ?", f"{T}t-3")
    expected = set() if told is None else {("ledger", told, f"{T}t-3")}
    assert site.told(exits=int(told is not None)) == expected


# -- CSV ----------------------------------------------------------------------------------------


def csv_of(site: Site) -> Path:
    return site.folder / "exports" / "acme.csv"


def test_a_torn_last_line_is_no_row(site: Site) -> None:
    with csv_of(site).open("a") as file:
        file.write(f"{T}torn,async_comp")
    assert site.told(exits=0) == set()


def test_a_line_that_a_crash_left_is_told_until_a_run_cuts_it_off(site: Site) -> None:
    event = completed("tail", collector="apps")
    lines = csv_of(site).read_text().splitlines(keepends=True)
    with csv_of(site).open("a", newline="") as file:
        file.write(lines[1].replace(f"{T}t-0", event.event_id))
    with closing(open_journal(str(site.folder / "m.db"), SystemClock())) as journal:
        journal.append([event]).wait()
    assert site.told() == {("export", "not_delivered", event.event_id)}
    site.deliver()
    assert site.told(exits=0) == set()


def replay(site: Site, *arguments: str) -> None:
    with contextlib.chdir(site.folder):
        ran = CliRunner().invoke(cli, ["replay", *arguments, "--yes"], obj=site.plugins)
    assert ran.exit_code == 0, ran.output
    site.deliver()


def test_what_it_says_of_a_wrong_csv_file_puts_it_right(site: Site) -> None:
    path = csv_of(site)
    path.write_text(path.read_text().replace(",60,", ",61,", 1))
    (found,) = site.json(exits=1)["differences"]
    assert "move the file that is wrong away, then `meter replay --force`" in found["put_right_by"]
    path.rename(site.folder / "wrong.csv")
    replay(site, "--sink", "export", "--customer", "acme", "--force", "--reason", "it was wrong")
    assert site.told(exits=0) == set()


def test_what_it_says_of_a_wrong_row_of_sqlite_puts_it_right(site: Site) -> None:
    site.sql("UPDATE usage SET customer_id = 'x' WHERE event_id = ?", f"{T}t-1")
    (found,) = site.json(exits=1)["differences"]
    delete, _, command = found["put_right_by"].partition(": meter replay ")
    assert delete.startswith("delete the row that is wrong")
    site.sql("DELETE FROM usage WHERE customer_id = 'x'")
    replay(site, *command.split())
    assert site.told(exits=0) == set()


def test_a_file_of_something_else_is_named(site: Site) -> None:
    csv_of(site).write_text("a,b\n1,2\n")
    assert "its first line is not event_id,kind" in site.side("export", exits=1)["reason"]


def test_a_customer_that_a_quote_was_put_before_is_the_same(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.file(FILE.replace("{customer_id}", "usage"))
    names = ("=1", "'=1", "'", "''=1", "\n=1", "a\r\nb", '"', "=1\n=2", "'x")
    site.deliver(
        *(completed(f"q-{n}", customer_id=name, collector="apps") for n, name in enumerate(names))
    )
    assert site.told(exits=0) == set()
    path = site.folder / "exports" / "usage.csv"
    text = path.read_bytes().decode()
    path.write_bytes(text.replace(",'=1,", ",'=3,", 1).encode())
    assert site.told() == {("export", "differs customer", f"{T}q-0")}


# -- Parquet ------------------------------------------------------------------------------------


@needs_pyarrow
def test_a_month_that_was_moved_away_is_no_difference(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.file(FILE.replace(LEDGER, LAKE))
    old = completed("old", collector="apps", occurred_at=NOON - timedelta(days=60))
    site.deliver(*EVENTS, old)
    (tmp_path / "lake" / "month=2026-09").rename(tmp_path / "archive")
    assert site.told() == {("ledger", "missing_there", old.event_id)}, "until the sink knows"
    site.deliver(completed("new", collector="apps"))
    side = site.side("ledger")
    assert side["not_compared"] == {"month=2026-09 was moved away": 1}
    assert side["differences"] == 0


@needs_pyarrow
def test_a_file_of_the_folder_that_is_gone_lacks_its_rows(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.file(FILE.replace(LEDGER, LAKE))
    site.deliver(*EVENTS)
    for path in (tmp_path / "lake").glob("month=*/*.parquet"):
        path.unlink()
    assert site.side("ledger", exits=1)["by_difference"] == {"missing_there": 11}
    (found, *_) = site.json(exits=1)["differences"]
    assert found["put_right_by"].startswith("move the whole folder away")
    (tmp_path / "lake").rename(tmp_path / "away")
    site.deliver()
    assert site.told(exits=0) == set()


# -- Stripe -------------------------------------------------------------------------------------


def test_stripes_sums_are_told_with_the_command_that_shows_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    at = datetime.now(UTC) - timedelta(hours=3)
    rules = StripeRules(unknown_customers="accepted", test_events_per_second=None)
    with StripeSandbox(rules=rules) as stripe:
        site = Site(tmp_path)
        options = (
            'type: stripe, start: beginning, api_key: "${STRIPE_KEY:-sk_test_reconcile}", '
            f'base_url: "{stripe.base_url}", customers: passthrough, create_missing: true, '
            "meters: [{event_name: seconds}], period_day: none"
        )
        site.file(FILE.replace(LEDGER, f"ledger: {{{options}}}"))
        open_journal(str(tmp_path / "m.db"), SystemClock()).close()
        never = site.side("ledger", "--sink", "ledger")
        assert "nothing was ever sent" in never["notes"]
        site.deliver(completed("s", collector="apps", occurred_at=at, seconds=Decimal(60)))
        assert site.side("ledger", "--sink", "ledger")["entries"] == 1
        stripe.books.add(
            "/v1/billing/meter_events",
            {
                "event_name": "seconds",
                "identifier": "theirs",
                "payload": {"stripe_customer_id": "acme", "value": "7"},
                "timestamp": int((at - timedelta(minutes=30)).timestamp()),
            },
        )
        (found,) = site.json("--sink", "ledger", exits=1)["differences"]
        assert (found["difference"], found["customer_id"], found["seconds"]) == (
            *("differs", "acme"),
            "7",
        )
        assert (found["journal"], found["there"]) == ("60 seconds", "67 seconds")
        assert found["put_right_by"].startswith("meter stripe verify --sink ledger --from 20")
        assert "something else sends to this meter" in found["place"]
        monkeypatch.setenv("STRIPE_KEY", "rk_live_of_another_mode")
        side = site.side("ledger", "--sink", "ledger", exits=1)
        assert "is of Stripe's test mode" in side["reason"]
