"""`meter usage`, as a real process."""

from __future__ import annotations

import contextlib
import csv
import fcntl
import io
import json
import os
import pty
import sqlite3
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from meter.cli import cli
from meter.clock import SystemClock
from meter.events import Event, encode_event
from meter.journal import open_journal
from meter.plugins import load_plugins
from support.facts import NOON, abandoned, completed, failed, terminated

METER = Path(sys.executable).with_name("meter")
FILE = """
journal: m.db
collectors: {apps: {type: ingest, secret: "${NOT_SET_HERE}"}}
sinks: {ledger: {type: sqlite, path: usage.db}}
pipelines: {usage: {from: apps, to: ledger}}
"""
RATES = """
rates:
  currency: USD
  cost:
    async_completed: {models: {best: 0.36}, features: {labels: "0.018"}}
    stream_terminated: {models: {live: 0.18}}
  price:
    async_completed: {models: {best: 0.72}, features: {labels: 0}}
    stream_terminated: {models: {live: 0.1}}
"""
BORDER = datetime(2026, 9, 30, 11, tzinfo=UTC)
"""Midnight of 1 October in Auckland, whose clocks went forward three days before."""
EVENTS: list[Event] = [
    completed(1, model="best", features=("labels",), seconds=Decimal("100.5"), occurred_at=BORDER),
    completed(
        2, model="best", customer_id="=evil\x1b[2J", dimensions={"team": "@a"}, seconds=Decimal(50),
        occurred_at=BORDER - timedelta(microseconds=1),
    ),
    terminated(3, model="live", customer_id="ünï", seconds=Decimal(3601)),
    failed(4),
    abandoned(5, customer_id="ünï"),
]  # fmt: skip


class Site:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file(FILE)

    def file(self, text: str) -> None:
        (self.folder / "pipelines.yaml").write_text(text)

    def record(self, events: Sequence[Event]) -> None:
        with closing(open_journal(str(self.folder / "m.db"), SystemClock())) as journal:
            journal.append(events).wait()

    def meter(self, *arguments: str, exits: int = 0) -> subprocess.CompletedProcess[str]:
        ran = subprocess.run(
            [METER, "usage", *arguments],
            cwd=self.folder, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert ran.returncode == exits, ran.stdout + ran.stderr
        assert "Traceback" not in ran.stderr
        return ran

    def within(self, *arguments: str, exits: int = 0) -> Result:
        """Run the same command without a process of its own, which is most of its time."""
        with contextlib.chdir(self.folder):
            ran = CliRunner().invoke(cli, ["usage", *arguments], obj=load_plugins())
        assert ran.exit_code == exits, ran.output
        return ran

    def json(self, *arguments: str) -> Any:
        return json.loads(self.within("--format", "json", *arguments).stdout)

    def csv(self, *arguments: str) -> list[dict[str, str]]:
        text = self.within("--format", "csv", *arguments).stdout
        return list(csv.DictReader(io.StringIO(text)))

    def on_terminal(self, columns: int, *arguments: str) -> str:
        """Run it on a terminal of so many columns; return everything that it shows there."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        environ = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
        process = subprocess.Popen(
            [METER, "usage", *arguments],
            cwd=self.folder, env=environ, stdin=theirs, stdout=theirs, stderr=theirs,
        )  # fmt: skip
        os.close(theirs)
        shown = b""
        while True:
            try:
                some = os.read(ours, 65_536)
            except OSError:  # the process closed its end
                break
            if not some:
                break
            shown += some
        os.close(ours)
        assert process.wait(60) == 0
        return shown.decode()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path)
    made.record(EVENTS)
    return made


def test_usage_by_customer_is_a_table_with_a_total_and_nothing_that_moves_a_cursor(
    site: Site,
) -> None:
    told = site.meter().stdout
    assert told == (
        "customer      events  seconds  hours  not billed\n"
        "────────────  ──────  ───────  ─────  ──────────\n"
        "ünï                1     3601   1.00           1\n"
        "acme               1    100.5   0.03           1\n"
        "=evil\\x1b[2J       1       50   0.01\n"
        "────────────  ──────  ───────  ─────  ──────────\n"
        "total              3   3751.5   1.04           2\n"
    )


def test_the_zone_decides_the_month_to_the_microsecond(site: Site) -> None:
    def of(zone: str) -> dict[str, str]:
        rows = site.json("--by", "month", "--tz", zone, "--kind", "async_completed")["rows"]
        return {row["month"]: row["seconds"] for row in rows}

    assert of("Pacific/Auckland") == {"2026-09": "50", "2026-10": "100.5"}
    assert of("UTC") == {"2026-09": "150.5"}
    for month, seconds in (("2026-09", "50"), ("2026-10", "100.5")):
        total = site.json("--month", month, "--tz", "Pacific/Auckland")["total"]
        assert total["seconds"] == seconds


@pytest.mark.parametrize(
    ("bounds", "seconds"),
    [
        (("--from", "2026-10-01", "--tz", "Pacific/Auckland"), "3701.5"),
        (("--to", "2026-10-01", "--tz", "Pacific/Auckland"), "50"),
        (("--from", "2026-10-01"), "3601"),
        (("--from", "2026-09-30T11:00:00Z", "--to", "2026-11-01"), "100.5"),
        (("--from", "2026-10-01T00:00", "--tz", "Pacific/Auckland"), "3701.5"),
        (("--to", "2026-10-01T00:00:01", "--tz", "Pacific/Auckland"), "150.5"),
    ],
)
def test_the_first_bound_counts_and_the_second_does_not(
    site: Site, bounds: tuple[str, ...], seconds: str
) -> None:
    assert site.json(*bounds)["total"]["seconds"] == seconds


def test_csv_is_guarded_against_formulas_as_the_csv_sink_does_it(site: Site) -> None:
    rows = site.csv("--by", "customer,dimension.team")
    assert [(r["customer"], r["dimension.team"], r["not_billed"]) for r in rows] == [
        ("ünï", "", "1"),
        ("acme", "", "1"),
        ("'=evil\x1b[2J", "'@a", "0"),
    ]
    assert [r["seconds"] for r in rows] == ["3601", "100.5", "50"]


def test_several_columns_and_every_filter_work_together(site: Site) -> None:
    rows = site.json("--by", "kind", "--by", "model,dimensions.team")["rows"]
    assert [(r["kind"], r["model"], r["dimension.team"]) for r in rows] == [
        ("stream_terminated", "live", None),
        ("async_completed", "best", None),
        ("async_completed", "best", "@a"),
        ("async_failed", None, None),
        ("stream_abandoned", None, None),
    ]
    only = site.json("--customer", "acme", "--customer", "ünï", "--model", "best")
    assert [row["customer"] for row in only["rows"]] == ["acme"]
    assert site.meter("--customer", "nobody").stdout == "no usage\n"
    assert site.json("--customer", "nobody")["rows"] == []


def test_money_is_shown_with_its_margin_and_exactly_in_json(site: Site) -> None:
    site.file(FILE + RATES)
    told = site.meter().stdout.splitlines()
    assert told[0].split("not billed")[1].split("  ") == [
        "", "cost USD", "price USD", "margin USD", "margin %",
    ]  # fmt: skip
    acme = next(line for line in told if line.startswith("acme"))
    # 100.5 s at 0.378 an hour cost 0.0105525, and bring 0.0201.
    assert acme.split() == ["acme", "1", "100.5", "0.03", "1", "0.01", "0.02", "0.01", "47.5"]
    document = site.json()
    figures = {row["customer"]: row for row in document["rows"]}
    assert document["currency"] == "USD"
    assert figures["acme"]["cost_exact"] == "0.0105525"
    assert figures["acme"]["price_exact"] == "0.0201"
    assert figures["ünï"]["cost_exact"] == "0.18005"
    assert figures["ünï"]["price_exact"] == "3601/36000"
    assert (figures["ünï"]["margin"], figures["ünï"]["margin_percent"]) == ("-0.08", "-80.0")
    assert document["total"]["cost_exact"] == "0.1956025"
    assert site.csv()[0] | {"cost": "0.18", "margin": "-0.08", "currency": "USD"} == site.csv()[0]
    assert "cost" not in site.meter("--no-money").stdout


def test_a_total_that_the_printed_rows_miss_says_so(site: Site) -> None:
    site.record([completed(f"r{n}", model="best", customer_id=f"c{n}") for n in range(9)])
    site.file(FILE + RATES.replace("0.36", "0.27"))
    # 60 s at 0.27 an hour cost 0.0045, which is printed as 0.00: nine of them are 0.04.
    told = site.within("--month", "2026-11", "--kind", "async_completed").stdout
    assert told.splitlines()[-3].split()[:5] == ["total", "9", "540", "0.15", "0.04"]
    assert (
        "The total cost is rounded once, from the exact sum; the rows as they are printed add up "
        "to 0.00." in told
    )


def test_a_model_or_an_add_on_without_a_rate_is_an_error_that_names_it(site: Site) -> None:
    site.file(FILE + RATES)
    site.record([completed("n", model="nano\x1b", features=("labels", "topics"))])
    ran = site.meter(exits=2)
    assert ran.stdout == ""
    assert "rates.cost.async_completed.models: no rate for the model 'nano\\x1b'" in ran.stderr
    assert "rates.price.async_completed.features: no rate for the add-on 'topics'" in ran.stderr
    assert site.meter("--model", "best").stdout, "what is not asked for needs no rate"
    assert site.meter("--no-money").stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--by", "custmer"), "did you mean 'customer'?"),
        (("--by", ""), "no such column"),
        (("--tz", "Pacific/Aukland"), "did you mean Pacific/Auckland?"),
        (("--tz", "../../etc/passwd"), "no time zone of that name"),
        (("--month", "2026-13"), "expected a month such as 2026-11"),
        (("--month", "2026-11", "--to", "2026-12-01"), "--month stands alone"),
        (("--from", "yesterday"), "expected a date such as 2026-11-01"),
        (("--from", "2026-02-30"), "expected a date such as 2026-11-01"),
        (("--from", "2026-11-02", "--to", "2026-11-01"), "expected to be later than --from"),
        (("--from", "2026-11-01T01:30", "--tz", "America/New_York"), "happened twice"),
        (("--from", "2026-11-01T01:30:00.5"), "whole seconds"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_what_to_write(
    site: Site, arguments: tuple[str, ...], words: str
) -> None:
    ran = site.within(*arguments, exits=2)
    assert words in ran.stderr
    assert ran.stdout == ""


def test_without_a_journal_it_says_who_makes_one(tmp_path: Path) -> None:
    ran = Site(tmp_path).meter(exits=4)
    assert "`meter run` makes it" in ran.stderr
    assert not (tmp_path / "m.db").exists()


def test_a_terminal_gets_a_bar_a_row_as_wide_as_there_is_room(site: Site) -> None:
    wide = site.on_terminal(140)
    assert "ünï" in wide
    assert "█" * 40 in wide
    assert "█" * 41 not in wide
    narrow = site.on_terminal(70)
    assert max(len(line) for line in narrow.splitlines()) <= 70
    assert "█" * 19 in narrow
    assert "█" not in site.on_terminal(52)
    assert "█" not in site.meter().stdout
    for shape in ("csv", "json"):
        assert "\x1b" not in site.on_terminal(140, "--format", shape)
    assert "\x1b" not in wide + narrow


def test_a_long_wait_shows_its_progress_on_a_terminal_only(site: Site) -> None:
    many = [completed(f"m{n}", occurred_at=NOON + timedelta(seconds=n)) for n in range(55_000)]
    path = site.folder / "m.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executemany(
            "INSERT INTO events (event_id, body) VALUES (?, ?)",
            [(event.event_id, encode_event(event).decode()) for event in many],
        )
        connection.commit()
    first = site.on_terminal(100)
    assert "Reading events" in first
    assert "3303751.5" in first
    again = site.on_terminal(100)
    assert "Reading events" not in again, "the rollup is filled"
    assert "3303751.5" in again
    piped = site.meter("--by", "dimension.team")
    assert piped.stderr == ""
    assert "3303751.5" in piped.stdout
