"""`meter token` and `meter sessions`, as real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import jwt
import pytest

from meter.clock import SystemClock
from meter.collectors.relay.tokens import read_token
from meter.events import StreamAbandoned, StreamTerminated
from meter.journal import NewSession, Quarantined, open_journal
from support.facts import NOON

METER = Path(sys.executable).with_name("meter")
SECRET = "a-token-secret-of-more-than-32-characters"
FILE = f"""
journal: m.db
collectors:
  live: {{type: streaming, api_key: key, token_secret: {SECRET}}}
sinks: {{ledger: {{type: sqlite, path: usage.db}}}}
pipelines: {{usage: {{from: live, to: ledger}}}}
"""
TWO = FILE.replace(
    "sinks:",
    f"  eu: {{type: streaming, path: /eu/v3/ws, api_key: k, token_secret: {SECRET}}}\nsinks:",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pipelines.yaml").write_text(FILE)
    return tmp_path


def meter(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [METER, *arguments],
        cwd=cwd,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_token_prints_a_token_and_nothing_else(folder: Path) -> None:
    ran = meter(
        *("token", "--customer", "Müller & Söhne", "--dimension", "project=a=b"),
        *("--dimension", "x=", "--ttl", "5m", "--max-session", "1h", "--single-use"),
        cwd=folder,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    token = ran.stdout.removesuffix("\n")
    now = SystemClock().now()
    grant = read_token(token, SECRET, "live", now=now)
    assert grant.customer_id == "Müller & Söhne"
    assert grant.dimensions == {"project": "a=b", "x": ""}
    assert grant.max_session == timedelta(hours=1)
    assert grant.single_use
    assert grant.until is not None
    assert timedelta(minutes=4) < grant.until - now <= timedelta(minutes=5)


def test_a_token_that_another_language_made_is_read_the_same(folder: Path) -> None:
    del folder
    claims = {"aud": "live", "sub": "acme", "exp": int(NOON.timestamp()) + 60}
    token = jwt.encode(claims, SECRET, algorithm="HS256")
    grant = read_token(token, SECRET, "live", now=NOON)
    assert (grant.customer_id, grant.single_use, grant.max_session) == ("acme", False, None)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Missing option '--customer'"),
        (("--customer", ""), "customer_id: expected whose session it will be"),
        (("--customer", "a", "--ttl", "1x"), "expected a duration such as 30s"),
        (("--customer", "a", "--ttl", "25h"), "ttl: expected 1 s to 24 h"),
        (("--customer", "a", "--max-session", "4h"), "max_session: expected 1 s to 3 h"),
        (("--customer", "a", "--dimension", "x"), "expected NAME=VALUE, got 'x'"),
        (("--customer", "a", "--dimension", "x=1", "--dimension", "x=2"), "x is given twice"),
        (("--customer", "a", "--collector", "b"), "--collector: expected one of live"),
    ],
)
def test_a_token_that_cannot_be_is_refused_with_the_reason(
    folder: Path, arguments: tuple[str, ...], words: str
) -> None:
    ran = meter("token", *arguments, cwd=folder)
    assert ran.returncode == 2
    assert words in ran.stderr
    assert SECRET not in ran.stderr
    assert ran.stdout == ""


def test_with_two_relays_the_token_says_which(folder: Path) -> None:
    (folder / "pipelines.yaml").write_text(TWO)
    ran = meter("token", "--customer", "a", cwd=folder)
    assert ran.returncode == 2
    assert "--collector: expected one of live, eu" in ran.stderr
    token = meter("token", "--customer", "a", "--collector", "eu", cwd=folder).stdout.strip()
    assert read_token(token, SECRET, "eu", now=SystemClock().now()).customer_id == "a"


def test_a_short_token_secret_is_refused(folder: Path) -> None:
    (folder / "pipelines.yaml").write_text(FILE.replace(SECRET, "short"))
    ran = meter("check", cwd=folder)
    assert ran.returncode == 2
    assert "at least 32 characters; `openssl rand -hex 32` makes a good one" in ran.stderr


def test_sessions_shows_each_in_its_one_state(folder: Path) -> None:
    assert meter("sessions", cwd=folder).returncode == 4, "there is no journal yet"
    journal = open_journal(str(folder / "m.db"), SystemClock())
    for number, name in enumerate(("open", "closed", "abandoned", "quarantined")):
        at = NOON + timedelta(minutes=number)
        journal.sessions.open(
            NewSession(name, "live", f"of {name}", at, at + timedelta(hours=3), {"p": "1"}, "u3")
        ).wait()
    shared: dict[str, Any] = {"collector": "live", "occurred_at": NOON, "recorded_at": NOON}
    journal.append(
        [
            StreamTerminated(
                provider_id="closed", customer_id="of closed", seconds=Decimal("61.5"), **shared
            )
        ]
    ).wait()
    journal.sessions.lengthen([("abandoned", Decimal("12.25"))]).wait()
    journal.sessions.abandon(
        StreamAbandoned(
            provider_id="abandoned",
            customer_id="of abandoned",
            lower_seconds=Decimal("12.25"),
            upper_seconds=Decimal(10801),
            **shared,
        )
    ).wait()
    journal.sessions.set_aside("quarantined", Quarantined("live", "k", "why", "{}")).wait()
    journal.close()

    rows = json.loads(meter("sessions", "--json", cwd=folder).stdout)
    assert [row["session_id"] for row in rows] == ["quarantined", "abandoned", "closed", "open"]
    assert all(row["state"] == row["session_id"] for row in rows)
    abandoned, closed = rows[1], rows[2]
    assert (abandoned["at_least"], abandoned["at_most"], abandoned["seconds"]) == (
        "12.25",
        "10801",
        None,
    )
    assert (closed["seconds"], closed["at_least"]) == ("61.5", None)
    shown = meter("sessions", "--state", "open", "--customer", "of open", cwd=folder).stdout
    assert "of open" in shown
    assert "closed" not in shown
    assert (
        "the newest 1; --limit shows more" in meter("sessions", "--limit", "1", cwd=folder).stdout
    )
    assert meter("sessions", "--customer", "nobody", cwd=folder).stdout == "no sessions\n"
    status = meter("status", cwd=folder).stdout
    assert "sessions     1 open, 1 quarantined" in status
