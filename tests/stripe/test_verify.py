"""`meter stripe verify` and `resolve`: where the journal and Stripe differ, down to the events."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from meter.errors import ConfigurationError, SinkError
from meter_stripe.resolve_command import accept, resolve
from meter_stripe.verify_command import days_asked, verify
from support.stripe_desk import DeskTill, desk_till


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[DeskTill]:
    with desk_till(tmp_path, verify=False) as made:
        yield made


def checked(
    shop: DeskTill,
    capsys: pytest.CaptureFixture[str],
    *,
    code: int = 0,
    style: str = "table",
    customer: str | None = None,
    strict: bool = False,
    **asked: str,
) -> str:
    capsys.readouterr()
    days = days_asked(asked.get("start"), asked.get("end"), asked.get("month"), shop.clock.now())
    desk = shop.desk()
    found = verify(
        desk, days, customer=customer, strict=strict, style=style, pipelines=Path("pipelines.yaml")
    )
    said = capsys.readouterr().out
    assert found == code, said
    return said


def document(shop: DeskTill, capsys: pytest.CaptureFixture[str], **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(checked(shop, capsys, style="json", **more))
    return found


def test_books_that_agree_are_said_to(shop: DeskTill, capsys: pytest.CaptureFixture[str]) -> None:
    shop.sent("a", "b")
    shop.sent("c", customer="cus_2")
    shop.clock.advance(hours=2)
    said = checked(shop, capsys)
    row = next(line for line in said.splitlines() if line.startswith("cus_1"))
    assert row.split() == [
        *("cus_1", "cus_1", "seconds", "2026-11-22"),
        *("120", "120", "120", "0", "second", "agrees"),
    ]
    assert "total seconds: journal 180 s; sent 180 seconds; Stripe counts 180" in said
    assert "everything agrees" in said
    assert "2 reads of Stripe's" in said
    for ugly in ("Decimal", "datetime", "E+", "None", "{"):
        assert ugly not in said


def test_a_difference_names_the_events_behind_it(
    shop: DeskTill, capsys: pytest.CaptureFixture[str]
) -> None:
    good, lost = shop.sent("good", "lost")
    shop.lose(lost)
    shop.clock.advance(hours=2)
    said = checked(shop, capsys, code=1)
    (intent,) = shop.intents(lost)
    assert "DIFFERS" in said
    assert f"60 sent, Stripe counts 0 ({intent.identifier}, delivered)" in said
    assert lost in said
    assert good not in said
    assert f"meter stripe resolve {intent.identifier} --as missing" in said
    assert "or --as counted (Stripe is right)" in said
    assert "1 day of a customer differs" in said


def test_json_and_csv_carry_the_same_differences(
    shop: DeskTill, capsys: pytest.CaptureFixture[str]
) -> None:
    _, lost = shop.sent("good", "lost")
    shop.lose(lost)
    shop.clock.advance(hours=2)
    found = document(shop, capsys, code=1)
    assert (found["agrees"], found["complete"]) == (False, True)
    (difference,) = found["differences"]
    assert (difference["sent"], difference["counted"]) == (60, "0")
    assert difference["event_ids"] == [lost]
    rows = list(csv.DictReader(io.StringIO(checked(shop, capsys, code=1, style="csv"))))
    assert [(row["what"], row["difference"], row["event_ids"]) for row in rows] == [
        ("day", "-60", ""),
        ("slot", "-60", lost),
    ]


def test_what_another_program_sends_is_told_apart(
    shop: DeskTill, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.sent("a")
    shop.add_at_stripe(7, shop.clock.now() - timedelta(minutes=40))
    shop.clock.advance(hours=2)
    said = checked(shop, capsys, code=1)
    assert "does another program send to this meter?" in said
    assert "meter stripe resolve cus_1 --day 2026-11-22" in said
    day = shop.clock.now().date()
    assert accept(shop.desk(), "cus_1", day, reason="a gift", yes=True) == 0
    assert shop.day_problems() == []


def test_what_was_just_sent_is_no_difference_yet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with desk_till(tmp_path, rules={"summary_lag_seconds": 600}) as shop:
        shop.sent("a")
        said = checked(shop, capsys)
        assert "too young to tell" in said
        assert "nothing differs" in said
        assert "DIFFERS" in checked(shop, capsys, code=1, strict=True)
        shop.clock.advance(hours=2)
        assert "everything agrees" in checked(shop, capsys)


def test_days_and_customers_can_be_asked_for(
    shop: DeskTill, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.sent("a")
    shop.sent("b", customer="cus_2")
    shop.clock.advance(hours=30)
    assert len(document(shop, capsys)["days"]) == 2
    assert len(document(shop, capsys, customer="cus_2")["days"]) == 1
    assert document(shop, capsys, start="2026-11-23")["days"] == []
    assert len(document(shop, capsys, end="2026-11-22")["days"]) == 2
    assert len(document(shop, capsys, month="2026-11")["days"]) == 2
    assert document(shop, capsys, month="2026-10")["days"] == []


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"start": "yesterday"}, "--from 'yesterday': expected such as 2026-11"),
        ({"month": "2026-13"}, "--month '2026-13'"),
        ({"month": "2026-11", "start": "2026-11-01"}, "exclude each other"),
        ({"start": "2026-11-05", "end": "2026-11-01"}, "is after --to"),
    ],
)
def test_days_that_are_none_are_refused(asked: dict[str, str], words: str, shop: DeskTill) -> None:
    with pytest.raises(ConfigurationError, match=words):
        days_asked(asked.get("start"), asked.get("end"), asked.get("month"), shop.clock.now())


def test_what_was_delivered_and_is_in_no_ledger_is_found(
    shop: DeskTill, capsys: pytest.CaptureFixture[str]
) -> None:
    (event_id,) = shop.sent("a")
    shop.clock.advance(hours=2)
    shop.commit([shop.ledger.state.delete(f"e/{event_id}")])
    said = checked(shop, capsys, code=1)
    assert f"{event_id}: delivered by the journal, and the ledger does not know it" in said
    assert "the journal has 0 s, the ledger 60 s" in said


def test_what_is_billed_and_in_no_journal_is_found(
    shop: DeskTill, capsys: pytest.CaptureFixture[str]
) -> None:
    (event_id,) = shop.sent("a")
    shop.clock.advance(hours=2)
    ledger = shop.ledger
    link = ledger.links([event_id])[event_id]
    (intent,) = shop.intents(event_id)
    stranger = "assemblyai:transcript:stranger"
    tally = dict(ledger.every_tally())["cus_1"]
    shop.commit(
        [
            ledger.link(stranger, link),
            ledger.put_aside(intent.changed(events=(event_id, stranger))),
            ledger.tally("cus_1", tally.plus(intent.seconds, 0)),
        ]
    )
    assert f"{stranger}: billed, and the journal has no such event" in checked(shop, capsys, code=1)


def test_cancelled_usage_is_no_difference(
    shop: DeskTill, capsys: pytest.CaptureFixture[str]
) -> None:
    from meter_stripe.cancel_command import cancel

    event_ids = shop.sent("a", "b")
    assert cancel(shop.desk(), event_ids[0], reason="", yes=True, seconds=5) == 0
    shop.later(hours=30)
    assert cancel(shop.desk(), event_ids[1], reason="", yes=True, seconds=5) == 0
    shop.later(hours=2)
    assert document(shop, capsys)["agrees"] is True


def test_it_stays_inside_the_read_budget(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with desk_till(tmp_path, verify=False, reads_per_month=100) as shop:
        for number in range(6):
            shop.sent("a" + str(number), customer=f"cus_{number}")
        shop.clock.advance(hours=2)
        before = shop.reads
        document(shop, capsys)
        assert shop.reads - before == 6
        for _ in range(16):
            checked(shop, capsys, code=0 if shop.reads + 6 < before + 100 else 1)
        assert "read budget (reads_per_month) is used up" in checked(shop, capsys, code=1)
        assert shop.reads - before <= 100


def test_a_sink_that_was_never_opened_has_nothing_to_verify(
    shop: DeskTill, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SinkError, match="not opened yet"):
        checked(shop, capsys)


# -- settling what differs -------------------------------------------------------------------------


def test_what_is_missing_is_billed_anew(shop: DeskTill, capsys: pytest.CaptureFixture[str]) -> None:
    _, lost = shop.sent("good", "lost")
    shop.lose(lost)
    shop.later(hours=2)
    (intent,) = shop.intents(lost)
    code = resolve(
        shop.desk(), intent.identifier, act="missing", reason="seen", yes=True, seconds=5
    )
    assert code == 0, capsys.readouterr()
    assert shop.billed() == 120
    shop.later(hours=2)
    assert document(shop, capsys)["agrees"] is True


def test_what_stripe_counts_by_now_is_never_billed_anew(
    shop: DeskTill, capsys: pytest.CaptureFixture[str]
) -> None:
    (event_id,) = shop.sent("a")
    shop.later(hours=2)
    (intent,) = shop.intents(event_id)
    code = resolve(shop.desk(), intent.identifier, act="missing", reason="", yes=True, seconds=5)
    assert code == 1
    assert "billing it anew would bill it twice" in capsys.readouterr().err
    assert shop.billed() == 60


def test_what_a_person_settled_is_no_difference(
    shop: DeskTill, capsys: pytest.CaptureFixture[str]
) -> None:
    _, lost = shop.sent("good", "lost")
    shop.lose(lost)
    shop.later(hours=2)
    (intent,) = shop.intents(lost)
    code = resolve(
        shop.desk(), intent.identifier, act="counted", reason="a gift", yes=True, seconds=5
    )
    assert code == 0
    shop.later(hours=2)
    said = checked(shop, capsys)
    assert "settled as counted by " in said
    assert ": a gift" in said


def test_an_unknown_identifier_is_refused(
    shop: DeskTill, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.sent("a")
    assert resolve(shop.desk(), "meter-x", act="counted", reason="", yes=True, seconds=1) == 1
    assert "the ledger has no meter event meter-x" in capsys.readouterr().err


def test_nothing_is_settled_where_nobody_can_be_asked(shop: DeskTill) -> None:
    (event_id,) = shop.sent("a")
    (intent,) = shop.intents(event_id)
    with pytest.raises(ConfigurationError, match="--yes"):
        resolve(shop.desk(), intent.identifier, act="counted", reason="", yes=False, seconds=1)
    assert list(shop.ledger.resolutions()) == []
