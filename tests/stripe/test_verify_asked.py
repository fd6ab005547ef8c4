"""`meter stripe verify`: whom it asks for, what it could not ask, and what is not billed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from meter.errors import ConfigurationError, SinkError
from meter_stripe.cancel_command import cancel
from meter_stripe.resolve_command import accept
from meter_stripe.verify_command import days_asked, verify
from support.stripe_desk import DeskTill, desk_till

MINUTES = timedelta(minutes=30)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[DeskTill]:
    with desk_till(tmp_path, verify=False) as made:
        yield made


def mapped(tmp_path: Path, **lines: str) -> dict[str, Any]:
    file = tmp_path / "customers.yaml"
    file.write_text("".join(f"{ours}: {stripe}\n" for ours, stripe in lines.items()))
    os.utime(file, (1, 1))
    return {"verify": False, "customers": {"file": str(file)}}


def checked(
    shop: DeskTill,
    capsys: pytest.CaptureFixture[str],
    *,
    code: int = 0,
    style: str = "table",
    customer: str | None = None,
    **asked: str,
) -> str:
    capsys.readouterr()
    days = days_asked(asked.get("start"), asked.get("end"), asked.get("month"), shop.clock.now())
    found = verify(
        shop.desk(),
        days,
        customer=customer,
        strict=False,
        style=style,
        pipelines=Path("pipelines.yaml"),
    )
    said = capsys.readouterr().out
    assert found == code, said
    return said


def document(shop: DeskTill, capsys: pytest.CaptureFixture[str], **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(checked(shop, capsys, style="json", **more))
    return found


# -- whom it asks for ------------------------------------------------------------------------------


def test_who_is_mapped_and_was_never_billed_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with desk_till(tmp_path, **mapped(tmp_path, acme="cus_1", other="cus_2")) as shop:
        shop.steps(2)
        said = checked(shop, capsys)
        assert "Stripe was asked for 2 customers on 1 meter: it counts nothing for them" in said
        assert "everything agrees" in said
        assert shop.reads == 2
        shop.add_at_stripe(7, shop.clock.now() - MINUTES)
        said = checked(shop, capsys, code=1)
        row = next(line for line in said.splitlines() if line.startswith("acme"))
        assert row.split()[-3:] == ["+7", "second", "DIFFERS"]
        assert accept(shop.desk(), "cus_1", shop.clock.now().date(), yes=True) == 0
        assert "accepted by " in checked(shop, capsys)


def test_who_was_billed_on_one_meter_is_asked_for_on_every_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    meters = [{"event_name": "seconds", "models": ["none"]}, {"event_name": "other"}]
    with desk_till(tmp_path, verify=False, meters=meters) as shop:
        shop.sent("a")
        shop.clock.advance(hours=2)
        assert "for 1 customer on 2 meters" in checked(shop, capsys)
        shop.add_at_stripe(7, shop.clock.now() - MINUTES)
        found = document(shop, capsys, code=1)
        assert [(row["meter"], row["state"]) for row in found["days"]] == [
            ("seconds", "DIFFERS"),
            ("other", "agrees"),
        ]


@pytest.mark.parametrize("customer", ["acme", "cus_1"])
def test_a_customer_may_be_named_by_us_or_by_stripe(
    customer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with desk_till(tmp_path, **mapped(tmp_path, acme="cus_1", other="cus_2")) as shop:
        shop.sent("a", customer="acme")
        shop.sent("b", customer="other")
        shop.clock.advance(hours=2)
        found = document(shop, capsys, customer=customer)
        assert [row["stripe_customer"] for row in found["days"]] == ["cus_1"]
        assert found["asked"]["customers"] == 1


def test_a_customer_that_nobody_knows_is_refused(
    shop: DeskTill, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.sent("a")
    with pytest.raises(ConfigurationError, match="--customer cus_l: neither the ledger nor"):
        checked(shop, capsys, customer="cus_l")
    assert shop.reads == 0


def test_nothing_is_said_of_stripe_where_it_was_not_asked(
    shop: DeskTill, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.steps(2)
    said = checked(shop, capsys)
    assert "Stripe was not asked: no Stripe customer is known yet" in said
    shop.sent("a")
    said += checked(shop, capsys, month="2027-01")
    assert "Stripe was not asked: these days have not begun" in said
    assert said.count("nothing was compared with Stripe") == 2
    assert "agrees" not in said
    assert "counts nothing" not in said
    assert shop.reads == 0


def test_those_for_whom_no_read_is_left_are_counted_and_come_last(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    many = {f"c{number}": f"cus_a{number}" for number in range(120)}
    options = mapped(tmp_path, acme="cus_z", **many)
    with desk_till(tmp_path, reads_per_month=100, **options) as shop:
        shop.sent("a", customer="acme")
        shop.clock.advance(hours=2)
        said = checked(shop, capsys)
        assert "21 customers not asked for on every meter" in said
        assert "cus_z" in said
        assert "nothing differs" in said
        assert shop.reads == 100


def test_without_the_customers_file_those_of_the_ledger_are_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with desk_till(tmp_path, **mapped(tmp_path, acme="cus_1", other="cus_2")) as shop:
        shop.sent("a", customer="acme")
        shop.clock.advance(hours=2)
        (tmp_path / "customers.yaml").unlink()
        said = checked(shop, capsys)
        assert "who is mapped could not be read (there is no customers file" in said
        assert "for 1 customer on 1 meter" in said


# -- the wrong key ---------------------------------------------------------------------------------


def test_a_key_of_another_mode_is_told_by_the_modes(
    shop: DeskTill, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.sent("a")
    record = shop.ledger.record()
    assert record is not None
    live = type(record)(
        **{**{f: getattr(record, f) for f in record.__struct_fields__}, "mode": "live"}
    )
    shop.commit([shop.ledger.remember(live)])
    words = "is of Stripe's live mode, and the sink's api_key is of test mode"
    with pytest.raises(SinkError, match=words):
        checked(shop, capsys)


def test_a_key_of_another_account_is_told_from_a_mode(
    shop: DeskTill, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.sent("a")
    tally = shop.ledger.tallies(["cus_1"])["cus_1"]
    shop.commit([shop.state.put("meter/seconds", "mtr_theirs")])
    shop.commit([shop.ledger.tally("cus_1", tally)])
    with pytest.raises(SinkError, match="both of test mode, so that the key is of another account"):
        checked(shop, capsys)


# -- what is not billed ----------------------------------------------------------------------------


def test_usage_that_is_not_billed_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    meters = [{"event_name": "seconds", "unit": "minute"}]
    with desk_till(tmp_path, verify=False, meters=meters) as shop:
        shop.use("late", 50, ago=timedelta(days=40))
        shop.use("sent", 90, ago=timedelta(minutes=5))
        shop.steps(3)
        shop.clock.advance(hours=2)
        shop.use("new", 33)
        shop.use("longer ago", 7, ago=timedelta(days=90))
        said = checked(shop, capsys)
        assert "  held: 1 event of 50 s" in said
        assert "  pending: 1 event of 33 s" in said
        assert "  below one unit, of all days: 30 s in 1 remainder" in said
        found = document(shop, capsys)["not_billed"]
        assert found["held"] == {"events": 1, "seconds": "50"}
        assert found["dead"] == {"events": 0, "seconds": "0"}
        assert found["below_one_unit"] == {"remainders": 1, "seconds": "30"}
        assert "below one unit" in checked(shop, capsys, style="csv")
        assert "pending" not in checked(shop, capsys, end="2026-11-21")


# -- states ----------------------------------------------------------------------------------------


def test_what_was_just_taken_back_has_a_state_of_its_own(
    shop: DeskTill, capsys: pytest.CaptureFixture[str]
) -> None:
    event_ids = shop.sent("a", "b")
    shop.later(hours=2)
    assert cancel(shop.desk(), event_ids[0], reason="", yes=True, seconds=5) == 0
    said = checked(shop, capsys)
    assert "just taken back" in said
    assert "compare again in an hour" in said
    assert "awaits" not in said


def test_an_accepted_day_is_no_difference_and_says_by_whom(
    shop: DeskTill, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.sent("a")
    shop.add_at_stripe(7, shop.clock.now() - timedelta(minutes=40))
    shop.clock.advance(hours=2)
    day = shop.clock.now().date()
    with pytest.raises(ConfigurationError, match="--yes"):
        accept(shop.desk(), "cus_1", day)
    checked(shop, capsys, code=1)
    assert accept(shop.desk(), "cus_1", day, reason="a gift", yes=True) == 0
    (row,) = document(shop, capsys)["days"]
    assert row["state"].startswith("accepted by ")
    assert row["state"].endswith(f" on {day}")
    assert (row["accepted"]["reason"], row["accepted"]["difference"]) == ("a gift", "7")
    said = checked(shop, capsys)
    assert row["state"] in said
    assert "1 day on which Stripe's figure was accepted as it is" in said
    assert accept(shop.desk(), "cus_1", day, yes=True) == 0
    assert "nothing differs there" in capsys.readouterr().out
    assert accept(shop.desk(), "cus_nobody", day, yes=True) == 1
    assert "nothing was ever sent" in capsys.readouterr().err


def test_billing_anew_is_not_recommended_where_something_is_counted(
    shop: DeskTill, capsys: pytest.CaptureFixture[str]
) -> None:
    (event,) = shop.sent("a")
    (intent,) = shop.intents(event)
    shop.add_at_stripe(7, intent.slot)
    shop.clock.advance(hours=2)
    said = checked(shop, capsys, code=1)
    assert f"meter stripe resolve {intent.identifier} --as counted" in said
    assert "missing" not in said


def test_those_without_usage_take_a_bounded_share_of_the_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    many = {f"c{number}": f"cus_a{number}" for number in range(1_004)}
    with desk_till(tmp_path, **mapped(tmp_path, **many)) as shop:
        shop.steps(2)
        found = document(shop, capsys)
        assert shop.reads == found["asked"]["customers"] == 1_000
        assert found["asked"]["customers_not_asked"] == 4
        assert found["complete"] is False
