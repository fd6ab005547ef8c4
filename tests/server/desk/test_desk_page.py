"""What the page shows: the same figures as the commands, every trouble, and nothing harmful."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from collections import deque
from contextlib import closing
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from click.testing import CliRunner

from meter.cli import cli
from meter.plugins import load_plugins
from server.desk.reading import read
from server.desk.scene import HELD, REFUSED, SESSION
from server.desk.serving import Desk, page
from support.facts import completed


def command(desk: Desk, *arguments: str) -> Any:
    done = CliRunner().invoke(cli, [*arguments, str(desk.config.path)], obj=load_plugins())
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


# -- the same figures as elsewhere -------------------------------------------------------------


def test_usage_by_customer_and_by_day_is_what_the_command_says(full: Desk) -> None:
    dates = ("--from", "2026-10-24", "--to", "2026-11-23", "--format", "json")
    shown = page(full, "/desk/customers").one("table", id="by-customer")
    told = command(full, "usage", *dates)
    keys = ("customer", "events", "seconds", "hours", "cost", "price", "not_billed")
    expected = [[str(row[key]) for key in keys] for row in told["rows"]]
    assert [[c.replace(",", "") for c in row] for row in shown.rows()] == expected
    total = [c.attributes["value"] for c in shown.one("tfoot").all("data")]
    assert total == [str(told["total"][key]) for key in ("events", "seconds", "not_billed")]
    first = page(full)
    assert first.one("table", id="by-customer").rows() == shown.rows()[:10]
    assert [c.attributes["value"] for c in first.one("tfoot").all("data")] == total

    by_day = command(full, "usage", "--by", "day,kind", *dates)["rows"]
    for row in first.one("details", id="usage-table").all("tr"):
        if day := row.attributes.get("data-day"):
            jobs, streams = (Decimal(data.attributes["value"]) for data in row.all("data"))
            for kind, seconds in (("async_completed", jobs), ("stream_terminated", streams)):
                told_seconds = [
                    r["seconds"] for r in by_day if (r["day"], r["kind"]) == (day, kind)
                ]
                assert seconds == Decimal(told_seconds[0] if told_seconds else 0)


def test_a_months_usage_is_the_months(full: Desk) -> None:
    told = command(full, "usage", "--month", "2026-10", "--format", "json")
    shown = page(full, "/?month=2026-10")
    assert "October 2026" in shown.one("h2", id="usage-title").text
    table = shown.one("table", id="by-customer")
    assert table.one("tfoot").all("data")[1].attributes["value"] == told["total"]["seconds"]
    customer = told["rows"][0]["customer"]
    one = page(full, f"/desk/customer?id={quote(customer)}&month=2026-10")
    total = one.one("table", id="by-kind").one("tfoot").all("data")
    assert total[1].attributes["value"] == told["rows"][0]["seconds"]


def test_every_sinks_balance_is_what_status_says(full: Desk) -> None:
    shown = page(full)
    status = command(full, "status", "--json")
    assert len(status["balances"]) == 4
    for balance in status["balances"]:
        sink = shown.one("article", id=f"sink-{balance['sink']}")
        figures = {
            row.one("dt").text: int(row.one("data").attributes["value"])
            for row in sink.one("dl").all("div")
        }
        recorded = figures.pop("recorded")
        assert recorded == balance["recorded"] == sum(figures.values())
        assert figures == {name: balance[name.replace("-", "_")] for name in figures}
        assert len(figures) == 6
    assert shown.one("dd", data_figure="recorded").text == f"{sum(status['events'].values()):,}"


def test_what_the_rollup_has_not_added_up_yet_is_counted_all_the_same(full: Desk) -> None:
    full.journal.append([completed("late", customer_id="latecomer", seconds=Decimal(7))]).wait()
    full.later()
    table = page(full, "/desk/customers").one("table", id="by-customer")
    assert ["latecomer", "1", "7"] in [row[:3] for row in table.rows()]


# -- what is the matter -------------------------------------------------------------------------


def test_the_first_page_says_everything_that_is_the_matter_the_worst_first(full: Desk) -> None:
    needs = [item.text for item in page(full).one("section", id="needs").all("li")]
    expected = [
        "stopped warehouse is parked: 401 from events.example.com: the token is refused",
        "stopped transcripts cannot collect: AssemblyAI refused the API key (401)",
        "waiting billing does not deliver: OSError: no space left on device",
        "waiting billing refused 1 event for good",
        "waiting billing holds 1 event: it cannot place them yet",
        "waiting 2 things in quarantine, billed to nobody until you decide",
        "waiting transcripts asks in vain: its oldest webhook waits for 18 min",
    ]
    assert needs == expected


def test_a_sink_that_hangs_is_said_to_and_comes_back(full: Desk) -> None:
    full.hanging.add("ledger")
    sink = page(full).one("article", id="sink-ledger")
    assert sink.all("span", class_="state hangs")
    full.hanging.clear()
    full.later()
    assert page(full).one("article", id="sink-ledger").all("span", class_="state working")


def test_what_status_says_of_why_events_are_stuck_is_there_with_its_way_out(full: Desk) -> None:
    sink = page(full).one("article", id="sink-billing")
    reasons = [item.text for item in sink.one("ul", class_="reasons").all("li")]
    assert [reason.removesuffix(" one of them") for reason in reasons] == [
        "dead 1 no such column: order_id",
        "held 1 no customer mapping for tiny-startup",
        "retrying 1 the file is in use",
    ]
    commands = [code.text for code in sink.all("code")]
    assert any("meter dead-letters" in c and "--retry-all" in c for c in commands)
    assert any(c.startswith(f"meter events {REFUSED}") for c in commands)


def test_a_way_out_that_is_shown_can_be_run_as_it_stands(full: Desk) -> None:
    (retry, *_) = [
        c.text for c in page(full, f"/desk/event?id={REFUSED}").all("code", class_="command")
    ]
    assert retry.startswith("meter dead-letters ")
    done = CliRunner().invoke(cli, retry.split()[1:], obj=load_plugins())
    assert done.exit_code == 0, done.output
    full.later()
    assert "retrying" in page(full, f"/desk/event?id={REFUSED}").text


def test_an_event_is_shown_with_the_history_that_the_command_tells(full: Desk) -> None:
    shown = page(full, f"/desk/event?id={REFUSED}")
    done = CliRunner().invoke(cli, ["events", REFUSED, str(full.config.path)], obj=load_plugins())
    lines = {" ".join(line.split()) for line in done.stdout.splitlines() if line.startswith("  ")}
    history = {item.text for item in shown.all("li") if item.text.startswith("2026-")}
    assert history
    assert history <= lines
    assert {"p-7", "A-1204", "universal"} <= {dd.text for dd in shown.all("dd")}
    stands = {
        article.one("h3").text.split()[0]: article.all("span")[1].text
        for article in shown.all("article")
    }
    assert stands == {
        "ledger": "delivered",
        "export": "delivered",
        "billing": "dead",
        "warehouse": "pending",
    }
    assert "held" in page(full, f"/desk/event?id={HELD}").text


def test_a_session_is_shown_while_it_lasts(full: Desk) -> None:
    rows = page(full).one("section", id="live-sessions").one("table").rows()
    assert rows[0][:5] == [SESSION, "acme", "open", "3 min ago", "150"]
    story = page(full, f"/desk/session?id={SESSION}").one("section", id="story").text
    assert "Open for3 min" in story
    assert "at least 150 s" in story
    full.journal.sessions.lengthen([(SESSION, Decimal(300))]).wait()
    full.later(minutes=3)
    story = page(full, f"/desk/session?id={SESSION}").one("section", id="story").text
    assert "Open for6 min" in story
    assert "at least 300 s" in story


@pytest.mark.parametrize(
    ("query", "where"),
    [
        (REFUSED, "/desk/event?id="),
        ("6f1f0b52-refused", "/desk/event?id="),
        (SESSION, "/desk/session?id="),
        ("b02c-unfetched", "/desk/entry?id="),
        ("studio-kōbō", "/desk/customer?id="),
        ("3", "/desk/entry?id=3"),
    ],
)
def test_what_is_searched_for_by_its_id_is_found(full: Desk, query: str, where: str) -> None:
    answer = full.get(f"/desk/search?q={quote(query)}")
    assert answer.status_code == 303
    assert answer.headers["location"].startswith(where)
    assert full.get(answer.headers["location"]).status_code == 200


def test_what_is_not_found_gets_the_nearest(full: Desk) -> None:
    text = page(full, "/desk/search?q=6f1f0b52-refusal").text
    assert "Nothing of that name" in text
    assert REFUSED in text
    assert full.get("/desk/search?q=").headers["location"] == "/"


@pytest.mark.parametrize(
    "path", ["event?id=no", "event", "session?id=no", "entry?id=99", "entry?id=x"]
)
def test_what_there_is_not_is_not_found(full: Desk, path: str) -> None:
    answer = full.get(f"/desk/{path}")
    assert answer.status_code == 404
    assert "There is nothing of that name" in answer.text


def test_an_empty_journal_is_shown_as_it_is(empty: Desk) -> None:
    for path in ("/", "/desk/customers", "/desk/events", "/desk/sessions", "/desk/letters",
                 "/desk/quarantine", "/desk/acts", "/desk/customer?id=acme"):  # fmt: skip
        assert page(empty, path).one("main").text
    first = page(empty)
    assert first.one("h2", id="needs-title").text == "All is well"
    assert first.one("article", id="sink-ledger").text == "ledger sqlite not started"


def test_every_customers_events_can_be_paged_through_to_the_first(full: Desk) -> None:
    for number in range(8):  # far apart, as if there were many others between them
        execute(full, "UPDATE sqlite_sequence SET seq = seq + 29999 WHERE name = 'events'")
        facts = [completed(f"{number}-{n}", customer_id="northwind-health") for n in range(2)]
        full.journal.append(facts).wait()
    while full.journal.rollup.catch_up(10_000):
        pass
    seen: list[str] = []
    path = "/desk/customer?id=northwind-health"
    while path:
        shown = page(full, path)
        rows = shown.all("section")[-1].all("tbody")
        seen += [row.one("th").text for table in rows for row in table.all("tr")]
        older = [a for a in shown.all("a") if a.text == "Older ones"]
        path = older[0].attributes["href"] if older else ""
    told = CliRunner().invoke(
        cli,
        ["events", "--customer", "northwind-health", "--limit", "1000", "--json",
         str(full.config.path)],
        obj=load_plugins(),
    )  # fmt: skip
    assert seen == [json.loads(line)["event_id"] for line in told.stdout.splitlines()]
    assert len(seen) > 100


def test_every_link_leads_to_a_page(full: Desk) -> None:
    todo, seen = deque(["/"]), {"/"}
    with full.client() as client:
        while todo and len(seen) < 400:
            answer = client.get(todo.popleft(), follow_redirects=True)
            assert answer.status_code == 200, answer.url
            for link in read(answer.text).all("a"):
                href = link.attributes["href"].partition("#")[0]
                kind = re.sub(r"(id|q|before|month)=[^&]*", r"\1", href)
                if href and kind not in seen:
                    assert href.startswith("/"), href
                    seen.add(kind)
                    todo.append(href)
    assert len(seen) > 20


# -- out of the way --------------------------------------------------------------------------------


def test_many_who_look_at_once_are_answered_or_told_to_ask_again(full: Desk) -> None:
    async def all_at_once() -> list[int]:
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            paths = [f"{full.url}/desk/events?before={number}" for number in range(60)]
            answers = await asyncio.gather(*(client.get(path) for path in paths))
            return [answer.status_code for answer in answers]

    statuses = asyncio.run(all_at_once())
    assert set(statuses) <= {200, 503}
    assert statuses.count(200) >= 16
    assert full.get().status_code == 200


def execute(desk: Desk, sql: str) -> None:
    """Change the journal behind meter's back."""
    with closing(sqlite3.connect(desk.config.journal, timeout=20)) as connection:
        connection.execute(sql)
        connection.commit()


def test_a_journal_that_cannot_be_read_is_said_and_nothing_else_breaks(full: Desk) -> None:
    execute(full, "ALTER TABLE exceptions RENAME TO gone")
    answer = full.get()
    assert answer.status_code == 503
    assert "The journal cannot be read: no such table" in answer.text
    assert full.get("/desk/events").status_code == 200
    execute(full, "ALTER TABLE gone RENAME TO exceptions")
    assert full.get().status_code == 200


def test_the_page_says_when_the_journal_cannot_be_written(full: Desk) -> None:
    for _ in range(4):  # so that each thread has its connection
        full.get(f"/desk/customers?month=2026-0{_ + 1}")
    moved = Path(full.config.journal).rename(full.config.folder / "moved.db")
    full.later()
    answer = full.get("/")
    moved.rename(full.config.journal)
    assert "The journal cannot be " in answer.text
    full.later()
    assert full.get("/").status_code == 200


def test_with_much_to_add_up_the_page_says_so_and_does_not_wait(full: Desk) -> None:
    execute(full, "UPDATE sqlite_sequence SET seq = seq + 60000 WHERE name = 'events'")
    full.journal.append([completed("far")]).wait()
    assert re.search(r"Usage is being added up: 6\d,\d{3} events to go\.", page(full).text)
    assert len(page(full).all("article")) == 4
    assert "being added up" in page(full, "/desk/customer?id=acme").text


def test_times_are_told_as_they_pass(full: Desk) -> None:
    full.clock.advance(hours=timedelta(days=2) / timedelta(hours=1))
    assert "oldest undelivered: 2 d 3 h" in page(full).one("article", id="sink-billing").text
