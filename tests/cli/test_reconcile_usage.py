"""`meter reconcile` against AssemblyAI: what its own tool printed, and what its list says."""

from __future__ import annotations

import contextlib
import json
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from cli.reconcile_site import EVENTS, FILE, S, Site, T
from meter.cli import cli
from meter.clock import SystemClock
from meter.journal import Quarantined, open_journal
from meter.sandbox.double import AssemblyAISandbox
from meter.sandbox.faults import Faults, JobPlan
from support.facts import NOON, abandoned, begun, completed, failed, terminated
from support.waiting import eventually


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path)
    made.deliver(*EVENTS)
    return made


# -- a usage file -------------------------------------------------------------------------------


def usage(site: Site, document: Any, mapping: str | None = None) -> list[str]:
    (site.folder / "usage.json").write_text(
        document if isinstance(document, str) else json.dumps(document)
    )
    if mapping is None:
        return ["--usage", "usage.json"]
    (site.folder / "mapping.yaml").write_text(mapping)
    return ["--usage", "usage.json", "--mapping", "mapping.yaml"]


SESSIONS = [
    {"session_id": f"s-{n}", "session_duration_sec": 61.5, "created_at": "2026-11-22T12:00:00Z"}
    for n in range(3)
]


@pytest.mark.parametrize(
    "document",
    [
        SESSIONS,
        {"sessions": SESSIONS, "pages": 1},
        {"answer": {"of": SESSIONS}},
        "\n".join(map(json.dumps, SESSIONS)),
        json.dumps({"sessions": SESSIONS}, indent=2),
    ],
)
def test_every_shape_of_a_usage_file_is_read(site: Site, document: Any) -> None:
    side = site.side("usage.json", *usage(site, document))
    assert (side["entries"], side["seconds"], side["differences"]) == (3, "184.5", 0)
    assert side["not_compared"] == {"async_completed, of which the file has none": 8}


def test_a_session_that_is_missing_on_either_side_or_differs_is_found(site: Site) -> None:
    rows = [
        dict(SESSIONS[0], session_duration_sec="61.6"),
        SESSIONS[1],
        dict(SESSIONS[2], session_id="s-9"),
    ]
    site.deliver(abandoned("s-8", occurred_at=NOON))
    rows.append(dict(SESSIONS[2], session_id="s-8"))
    found = site.json(*usage(site, rows), exits=1)["differences"]
    told = {(d["difference"], d["field"], d["event_id"], d["seconds"]) for d in found}
    assert told == {
        ("differs", "seconds", f"{S}s-0", "0.1"),
        ("missing_here", "", f"{S}s-9", "61.5"),
        ("missing_there", "", f"{S}s-2", "-61.5"),
        ("differs", "status", f"{S}s-8:abandoned", "61.5"),
    }
    tolerant = site.told(*usage(site, rows, "tolerance: 0.1"))
    assert ("usage.json", "differs seconds", f"{S}s-0") not in tolerant


def test_what_the_file_cannot_have_is_not_accused(site: Site) -> None:
    minute = timedelta(minutes=1)
    site.deliver(
        terminated("before", occurred_at=NOON - minute),
        terminated("border", occurred_at=NOON + minute, started_at=NOON - minute),
        terminated("within", occurred_at=NOON + minute, started_at=NOON),
        terminated("after", occurred_at=NOON + 5 * minute),
    )
    rows = [*SESSIONS, dict(SESSIONS[0], session_id="last", created_at="2026-11-22T12:02:00Z")]
    site.deliver(terminated("last", occurred_at=NOON + 2 * minute, seconds=Decimal("61.5")))
    found = site.json(*usage(site, rows), exits=1)
    assert [d["event_id"] for d in found["differences"]] == [f"{S}within"]
    assert found["sides"][1]["not_compared"] == {
        "async_completed, of which the file has none": 8,
        "outside of the time that the file is of": 2,
        "begun before that time": 1,
    }


def test_a_session_that_is_open_or_in_quarantine_is_on_its_way(site: Site) -> None:
    with closing(open_journal(str(site.folder / "m.db"), SystemClock())) as journal:
        journal.sessions.open(begun("s-open")).wait()
        aside = Quarantined("apps", "k", "no customer", "{}", provider_id="s-aside")
        journal.quarantine([aside]).wait()
    rows = [*SESSIONS, *(dict(SESSIONS[0], session_id=name) for name in ("s-open", "s-aside"))]
    side = site.side("usage.json", *usage(site, rows))
    assert side["in_flight"] == {"session is open": 1, "in quarantine": 1}


def test_a_day_that_the_time_cuts_is_not_compared(site: Site) -> None:
    days = [{"date": "2026-11-21", "seconds": 1}, {"date": "2026-11-22", "seconds": 1}]
    window = ("--from", "2026-11-21", "--to", "2026-11-22T12:30")
    found = site.json(*usage(site, days), *window, exits=1)
    assert [d["occurred_at"][:10] for d in found["differences"]] == ["2026-11-21"]
    assert found["sides"][1]["not_compared"] == {"days that are not whole": 1}


def test_a_mapping_corrects_what_was_guessed(site: Site) -> None:
    about = {"ms": 61_500, "meta": {"who.is": "=évil\x1b[2J"}, "what": "ws", "at": 1_795_348_800}
    rows: list[dict[str, Any]] = [{"the id": f"s-{n}", **about} for n in range(3)]
    rows.append({"the id": "chat-1", "ms": 5, "what": "llm", "at": 1_795_348_800})
    mapping = (
        "id: the id\nseconds: [nothing, ms]\nunit: milliseconds\ntime: at\nkind: what\n"
        "customer: /meta/who.is\nkinds: {ws: stream_terminated, llm: ignore}\n"
    )
    side = site.side("usage.json", *usage(site, rows, mapping))
    assert (side["entries"], side["seconds"], side["differences"]) == (3, "184.5", 0)
    rows[0]["meta"] = {"who.is": "acme"}
    told = site.told(*usage(site, rows, mapping))
    assert told == {("usage.json", "differs customer", f"{S}s-0")}


def test_sums_by_day_are_compared_where_there_are_no_ids(site: Site) -> None:
    site.deliver(completed("t-new", collector="apps", occurred_at=NOON + timedelta(days=2)))
    days = [
        {"date": "2026-11-22", "seconds": 664.5},
        {"date": "2026-11-23", "seconds": 5},
        {"date": "2026-11-24", "seconds": 60},
    ]
    found = site.json(*usage(site, {"usage": days}), exits=1)["differences"]
    assert [(d["field"], d["occurred_at"][:10], d["journal"], d["there"]) for d in found] == [
        ("sum of the day", "2026-11-23", "0", "5")
    ]
    assert site.told(*usage(site, days[::2]), exits=0) == set()


@pytest.mark.parametrize(
    ("document", "mapping", "words"),
    [
        (
            [{"sid": "x", "len": 5}], None,
            ["no row has session_duration_sec", "sid, len", "seconds: FIELD"],
        ),
        ([{"id": "x", "seconds": 5}], "id: sid", ["no row has sid (id)", "there are id, seconds"]),
        ([{"seconds": 5}], None, ["(time)"]),
        ("{", None, ["usage.json is no JSON"]),
        ('{"id": "a", "seconds": 1}\n{"id": \n', None, ["line 2 is no JSON"]),
        ({"a": SESSIONS, "b": SESSIONS}, None, ["which list?", "a, b"]),
        ({"a": SESSIONS}, "list: c", ["no list at c", "there is a"]),
        ([1], None, ["row 1 is no JSON object"]),
        ([{"id": "x", "type": "llm", "seconds": 1}], None, ["type is 'llm'", "ignore"]),
        (SESSIONS, "secconds: x", ["mapping.yaml:1: secconds: unknown", "did you mean 'seconds'?"]),
        (SESSIONS, "unit: days", ["mapping.yaml:1: unit: expected one of seconds"]),
        (SESSIONS, "tolerance: -1", ["tolerance: expected seconds, 0 or more"]),
        (SESSIONS, "kinds: {a: b}", ["kinds: expected words"]),
        (SESSIONS, "a: [", ["mapping.yaml:2:1: not YAML"]),
    ],
)  # fmt: skip
def test_what_cannot_be_read_of_a_usage_file_says_what_is_there(
    site: Site, document: Any, mapping: str | None, words: list[str]
) -> None:
    ran = site.within(*usage(site, document, mapping), exits=2)
    for each in words:
        assert each in ran.stderr


# -- AssemblyAI ---------------------------------------------------------------------------------


def listed(url: str) -> str:
    webhook = f'transcripts: {{type: webhook, api_key: key, secret: s, base_url: "{url}"}}'
    text = FILE.replace("collectors: {", f"collectors: {{{webhook}, ")
    return text.replace("from: apps", "from: [apps, transcripts]")


def submitted(double: AssemblyAISandbox, customer: str, seconds: int) -> str:
    double.plan_next(JobPlan(status="completed", audio_duration=seconds, webhook_copies=0))
    made = httpx.post(
        f"{double.base_url}/v2/transcript",
        json={
            "audio_url": "https://a.example/a.mp3",
            "webhook_url": f"https://m.example/webhooks/assemblyai?customer_id={customer}",
        },
        headers={"authorization": "key"},
        trust_env=False,
    )
    job = str(made.raise_for_status().json()["id"])
    eventually(lambda: all(truth.status == "completed" for truth in double.truth()))
    return job


def test_seconds_and_customers_are_compared_where_each_job_is_asked_for(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    at = datetime.now(UTC) - timedelta(days=1)
    with AssemblyAISandbox(latency=0, now=lambda: at) as double:
        site.file(listed(double.base_url))
        jobs = [submitted(double, customer, 60) for customer in ("acme", "globex", "acme")]
        site.deliver(
            *(completed(job, occurred_at=at, seconds=Decimal(60 + n)) for n, job in enumerate(jobs))
        )
        assert site.told(exits=0) == set()
        told = site.told("--seconds", "--per-second", "1000")
        assert told == {
            ("transcripts", "differs customer", T + jobs[1]),
            ("transcripts", "differs seconds", T + jobs[1]),
            ("transcripts", "differs seconds", T + jobs[2]),
        }
        assert site.side("transcripts", "--seconds", exits=1)["seconds"] == "180"
        double.faults = Faults(get_malformed=1)
        side = site.side("transcripts", "--collector", "transcripts", exits=1)
        assert side["state"] == "failed"
        assert "the transcript list is not as documented" in side["reason"]


def test_a_job_that_is_billed_after_all_is_collected_by_the_command_that_it_names(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    at = datetime.now(UTC) - timedelta(days=1)
    with AssemblyAISandbox(latency=0, now=lambda: at) as double:
        site.file(listed(double.base_url))
        job = submitted(double, "acme", 60)
        site.deliver(failed(job, occurred_at=at))
        (found,) = site.json(exits=1)["differences"]
        assert (found["field"], found["journal"], found["there"], found["seconds"]) == (
            *("status", "failed, not billed", "completed, 60 s"),
            "60",
        )
        _, *words = found["put_right_by"].split()
        with contextlib.chdir(site.folder):
            ran = CliRunner().invoke(cli, words, obj=site.plugins)
        assert ran.exit_code == 0, ran.output
        site.deliver()
        assert site.told(exits=0) == set()


def test_the_key_is_needed_only_where_it_is_used(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("A_KEY", raising=False)
    site.file(listed("http://127.0.0.1:9").replace("api_key: key", 'api_key: "${A_KEY}"'))
    ran = site.within(exits=2)
    assert "collectors.transcripts.api_key: (not set: A_KEY)" in ran.stderr
    assert site.told("--sink", "ledger", exits=0) == set()
