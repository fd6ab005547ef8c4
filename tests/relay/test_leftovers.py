"""What an earlier process left behind is settled at the next start; what is alive is not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from meter.clock import SystemClock
from meter.events import StreamAbandoned
from meter.journal import NewSession, Opening, open_journal
from relay.running import NAME, Start, token
from relay.wire import Provider, request
from support.facts import abandoned, terminated
from support.waiting import eventually

STARTED = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=5)


def new_session(provider_id: str, *, collector: str = NAME, **changes: object) -> NewSession:
    given: dict[str, object] = {
        "customer_id": "acme",
        "started_at": STARTED,
        "expires_at": STARTED + timedelta(hours=1),
        **changes,
    }
    return NewSession(provider_id=provider_id, collector=collector, **given)  # type: ignore[arg-type]  # a test's own


def test_sessions_that_a_killed_process_left_open_are_abandoned_with_their_bounds(
    tmp_path: Path, start: Start, provider: Provider
) -> None:
    journal = open_journal(str(tmp_path / "m.db"), SystemClock())
    for number in range(3):
        journal.sessions.open(new_session(f"s{number}", dimensions={"n": str(number)})).wait(20)
    journal.sessions.lengthen([("s1", Decimal("12.5"))]).wait(20)
    journal.append([terminated("s2", collector=NAME)]).wait(20)
    journal.sessions.open(new_session("other's", collector="another")).wait(20)
    journal.close()

    relayed = start(provider.url)
    eventually(lambda: "open" not in {relayed.states()[n] for n in ("s0", "s1")})
    assert relayed.states() == {
        "s0": "abandoned",
        "s1": "abandoned",
        "s2": "closed",
        "other's": "open",
    }
    found = {e.provider_id: e for e in relayed.events() if isinstance(e, StreamAbandoned)}
    assert {n: (e.lower_seconds, e.upper_seconds) for n, e in found.items()} == {
        "s0": (Decimal(0), Decimal(3601)),
        "s1": (Decimal("12.5"), Decimal(3601)),
    }
    assert found["s1"].dimensions == {"n": "1"}
    assert relayed.quarantined() == []


def test_openings_that_a_killed_process_left_are_quarantined_and_their_tokens_stay_used(
    tmp_path: Path, start: Start, provider: Provider
) -> None:
    journal = open_journal(str(tmp_path / "m.db"), SystemClock())
    later = datetime.now(UTC) + timedelta(hours=1)
    for number in range(2):
        opening = Opening(NAME, f"customer {number}", {"a": "b"}, STARTED, f"t{number}", later)
        journal.sessions.add_opening(opening).wait(20)
    journal.sessions.add_opening(Opening("another", "acme", {}, STARTED)).wait(20)
    journal.close()

    relayed = start(provider.url)
    eventually(lambda: relayed.openings() == 1)
    assert [key.partition(":")[0] for key in relayed.quarantined()] == ["opening", "opening"]
    used = relayed.dial(jti="t1", single_use=True)
    used.rest()
    assert used.code == 1008
    assert provider.connections == 0


def test_a_session_whose_abandonment_is_known_already_does_not_hold_up_the_start(
    tmp_path: Path, start: Start, provider: Provider
) -> None:
    journal = open_journal(str(tmp_path / "m.db"), SystemClock())
    journal.append([abandoned("s1", collector="import")]).wait(20)  # from a jsonl file, say
    journal.sessions.open(new_session("s1")).wait(20)
    journal.close()
    relayed = start(provider.url)
    eventually(lambda: relayed.states() == {"s1": "abandoned"})
    assert relayed.dial().status == 101


def test_more_leftovers_than_a_page_are_all_settled(
    tmp_path: Path, start: Start, provider: Provider
) -> None:
    journal = open_journal(str(tmp_path / "m.db"), SystemClock())
    tickets = [journal.sessions.open(new_session(f"s{number}")) for number in range(1200)]
    for ticket in tickets:
        ticket.wait(20)
    journal.close()
    relayed = start(provider.url)
    eventually(lambda: set(relayed.states().values()) == {"abandoned"}, seconds=20)
    assert len(relayed.events()) == 1200


def test_whoever_comes_before_the_leftovers_are_settled_waits_and_is_none_of_them(
    tmp_path: Path, start: Start, provider: Provider
) -> None:
    journal = open_journal(str(tmp_path / "m.db"), SystemClock())
    journal.sessions.open(new_session("s0")).wait(20)
    journal.close()
    relayed = start(provider.url, collect=False)
    early = relayed.connect()
    early.raw(request("/v3/ws", headers={"Authorization": token()}))
    gone = relayed.connect()
    gone.raw(request("/v3/ws", headers={"Authorization": token()}))
    eventually(lambda: len(relayed.open_sessions()) == 2)
    gone.vanish()
    assert (provider.connections, relayed.openings()) == (0, 0)
    relayed.collect()
    early.read_head()
    assert early.status == 101
    upstream = provider.accept()
    upstream.say("Begin", id="s1")
    assert early.hear()["id"] == "s1"
    eventually(lambda: len(relayed.open_sessions()) == 1)
    assert relayed.states() == {"s0": "abandoned", "s1": "open"}
    assert (provider.connections, relayed.openings()) == (1, 0)


def test_a_collector_that_is_started_again_takes_sessions_again(
    start: Start, provider: Provider
) -> None:
    relayed = start(provider.url)
    first = relayed.dial()
    provider.accept().vanish()
    first.vanish()
    eventually(lambda: not relayed.open_sessions())

    def fail() -> None:
        assert relayed._collecting is not None
        relayed._collecting.cancel()

    relayed.inside(fail)
    eventually(lambda: relayed._collecting is not None and relayed._collecting.done())
    relayed.collect()
    assert relayed.dial().status == 101
