"""`meter stripe carry-forward` and `flush`, and every command as a real process beside a run."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from acceptance.process import COMMAND, wait_until
from meter.sandbox.stripe_faults import StripeFaults
from meter_stripe.carry_command import carry_forward
from meter_stripe.flush_command import flush
from support.stripe_desk import DeskTill, desk_till
from support.stripe_site import METER, Site, site

OLD = timedelta(days=40)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[DeskTill]:
    with desk_till(tmp_path) as made:
        yield made


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as made:
        made.configure(create_missing=True)
        yield made


# -- carry-forward ---------------------------------------------------------------------------------


def carried(shop: DeskTill, *event_ids: str, all_late: bool = False) -> int:
    return carry_forward(
        shop.desk(), event_ids, all_late=all_late, reason="agreed", yes=True, seconds=5
    )


def test_late_usage_is_billed_once_a_person_says_so(shop: DeskTill) -> None:
    late, other = shop.use("late", ago=OLD), shop.use("other", ago=OLD)
    shop.desk().deliver_now()
    assert shop.billed() == 0
    assert carried(shop, late) == 0
    assert shop.billed() == 60
    assert shop.place(late)[0] == "delivered"
    assert shop.place(other)[0] == "held"
    decision = shop.ledger.decisions([late])[late]
    assert (decision.act, decision.reason) == ("carry_forward", "agreed")
    (event,) = shop.stripe.truth().events
    assert event.timestamp.date() == shop.clock.now().date()


def test_all_late_usage_can_be_meant(shop: DeskTill, capsys: pytest.CaptureFixture[str]) -> None:
    for name in "abc":
        shop.use(name, ago=OLD)
    shop.desk().deliver_now()
    assert carried(shop, all_late=True) == 0
    assert "3 events of 180 s: billed under today's date" in capsys.readouterr().out
    assert shop.billed() == 180
    assert carried(shop, all_late=True) == 0
    assert "no usage is held because it is late" in capsys.readouterr().out
    assert shop.billed() == 180


def test_what_is_not_late_is_not_carried(
    shop: DeskTill, capsys: pytest.CaptureFixture[str]
) -> None:
    late = shop.use("late", ago=OLD)
    (sent,) = shop.sent("sent")
    assert carried(shop, late, sent, "assemblyai:transcript:nobody") == 1
    said = capsys.readouterr().err
    assert f"{sent}: it is delivered; only usage that is held can be carried" in said
    assert "assemblyai:transcript:nobody: the journal has no such event" in said
    assert shop.ledger.decisions([late]) == {}
    assert shop.billed() == 60


# -- flush -----------------------------------------------------------------------------------------


def test_flush_sends_everything_and_says_so(
    shop: DeskTill, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "abc":
        shop.use(name)
    assert flush(shop.desk(), seconds=5, pipelines=Path("pipelines.yaml")) == 0
    said = capsys.readouterr().out
    assert "3 events delivered" in said
    assert "nothing is left" in said
    assert shop.billed() == 180


def test_flush_names_what_is_left_and_why(
    shop: DeskTill, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.use("late", ago=OLD)
    shop.use("fresh")
    assert flush(shop.desk(), seconds=5, pipelines=Path("other.yaml")) == 1
    said = capsys.readouterr().out
    assert "1 event delivered" in said
    assert "1 held: late: it is older than the 35 days that Stripe takes" in said
    assert "`meter stripe plan other.yaml`" in said


def test_flush_of_a_sink_that_cannot_work_says_why(place: Site) -> None:
    place.use("60")
    place.meter.once()
    place.use("30")
    (meter,) = place.double.books._ledger("acct_sandbox", livemode=False).meters
    place.double.books.add(f"/v1/billing/meters/{meter}/deactivate", {})
    said = place.stripe("flush", code=1)
    assert "meter: the sink billing is parked: " in said
    assert "put it right, then ask again" in said
    assert "sink.parked" not in said


# -- real processes --------------------------------------------------------------------------------


def test_help_names_every_command(place: Site) -> None:
    said = place.stripe("--help")
    for command in ("setup", "plan", "verify", "cancel", "resolve", "carry-forward", "flush"):
        assert command in said
        assert "Usage: meter stripe" in place.stripe(command, "--help")


def test_all_commands_without_a_running_meter(place: Site) -> None:
    wrong, right = place.use("60.5", "60.5")
    place.use("10", customer="cus_stranger")
    said = place.stripe("plan")
    assert "nothing is recorded yet: there is no journal, `meter run` makes it" in said
    assert "nothing is to be sent" in said
    assert json.loads(place.stripe("plan", "--format", "json"))["send"] == []
    assert "there is no journal" in place.stripe("verify", code=4)
    assert not (place.meter.folder / "meter.db").exists()
    place.meter.once()
    assert place.billed() == 121
    assert "dead letters: 1 event of 10 s" in place.stripe("plan")
    assert place.stripe("verify").rstrip().splitlines()[-2] == "everything agrees"
    assert "1 other event billed anew" in place.stripe("cancel", wrong, "--reason", "a demo")
    assert place.billed() == 60
    assert "taken back already" in place.stripe("cancel", wrong)
    assert json.loads(place.stripe("verify", "--format", "json"))["agrees"] is True
    assert "1 dead: Stripe: No such customer" in place.stripe("flush", code=1)
    assert "the ledger has no meter event" in place.stripe(
        "resolve", "meter-x", "--as", "counted", code=1
    )
    assert "name events, or say --all-late" in place.stripe("carry-forward", code=2)
    assert "no usage is held" in place.stripe("carry-forward", "--all-late", "pipelines.yaml")
    told = place.meter.command("events", wrong).stdout
    assert "taken back, and never billed again" in told
    assert "a demo" in told
    assert right in place.meter.command("events", told_identifier(place, right)).stdout


def test_a_sink_with_another_name_plans_as_it_will_run(place: Site) -> None:
    place.use("60.5")
    place.meter.once()
    text = place.meter.file.read_text()
    place.meter.file.write_text(text.replace("billing", "renamed"))
    said = place.stripe("plan")
    assert "the sink never ran" in said
    assert "as if nothing was sent" not in said
    assert "nothing is to be sent\n1 event more need no call: Stripe has their usage" in said
    place.use("30.5")
    place.meter.once()
    assert place.billed() == 91


def told_identifier(place: Site, event_id: str) -> str:
    told = place.meter.command("events", event_id).stdout
    return next(word for word in told.split() if word.startswith("meter-"))


def test_cancel_and_flush_beside_a_running_meter(place: Site) -> None:
    wrong, _ = place.use("60", "60")
    place.meter.spawn()
    wait_until(lambda: place.billed() == 120, showing=place.billed)
    assert "1 other event billed anew" in place.stripe("cancel", wrong, "--yes")
    wait_until(lambda: place.billed() == 60, showing=place.billed)
    assert "nothing is left" in place.stripe("flush")
    assert place.meter.stop() == 0


def test_flush_hurries_what_waits_for_its_minute(place: Site) -> None:
    """Usage of the hour that goes on keeps one meter event a minute; asked to, it leaves now."""
    place.use("60", minutes_ago=0)
    place.meter.spawn()
    wait_until(lambda: place.billed() == 60, showing=place.billed)
    place.meter.stop()
    place.use("30", minutes_ago=0)
    place.meter.spawn()
    wait_until(
        lambda: place.meter.status()[1]["balances"][0]["retrying"] == 1 or place.billed() == 90,
        showing=place.billed,
    )
    # In the first minute of an hour no earlier one is free: then it leaves when that is over.
    flushed = place.meter.command("stripe", "flush", "--wait", "80", seconds=100)
    assert "nothing is left" in flushed.stdout, flushed.stdout + flushed.stderr
    assert place.billed() == 90
    assert place.meter.stop() == 0


def test_a_flush_that_cannot_end_says_what_is_left(place: Site) -> None:
    place.use("60")
    place.meter.once()
    place.double.faults = StripeFaults(request_lost=1.0, paths=("/v1/billing/meter_events",))
    place.use("30")
    place.meter.spawn()
    lost = ("POST", "/v1/billing/meter_events", 0)
    wait_until(lambda: place.double.truth().requests.get(lost, 0) > 0)
    said = place.stripe("flush", "--wait", "2", code=1)
    assert "left: 1 event" in said
    place.double.faults = StripeFaults()
    assert "nothing is left" in place.stripe("flush", "--wait", "60")
    assert place.billed() == 90
    assert place.meter.stop() == 0


def test_several_sinks_must_be_told_apart(place: Site) -> None:
    text = place.meter.file.read_text()
    place.meter.file.write_text(
        text.replace(
            "pipelines:",
            f"  other: {{type: stripe, api_key: sk_test_a1b2c3, customers: "
            f"passthrough, meters: [{{event_name: {METER}}}]}}\npipelines:",
        )
    )
    place.use("60")
    for command in ("setup", "plan", "verify", "flush"):
        assert "--sink" in place.stripe(command, code=2)


def at_a_terminal(place: Site, *arguments: str, answers: bytes) -> tuple[int, str]:
    """Run a command with a terminal for its standard input and output."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [COMMAND, "stripe", *arguments],
        cwd=place.meter.folder,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    os.write(ours, answers)
    said = b""
    with suppress(OSError):  # the terminal is gone once the process is
        while chunk := os.read(ours, 4096):
            said += chunk
    os.close(ours)
    return process.wait(30), said.decode()


def test_a_terminal_is_asked_before_anything_is_taken_back(place: Site) -> None:
    (event_id,) = place.use("60")
    place.meter.once()
    code, said = at_a_terminal(place, "cancel", event_id, answers=b"a demo\nn\n")
    assert code == 1
    assert "why, for the record" in said
    assert "take its usage back? [y/N]" in said
    assert "nothing was done" in said
    assert place.billed() == 60
    code, said = at_a_terminal(place, "cancel", event_id, answers=b"a demo\ny\n")
    assert code == 0, said
    assert place.billed() == 0
    assert "a demo" in place.meter.command("events", event_id).stdout


def test_nothing_is_taken_back_where_nobody_can_be_asked(place: Site) -> None:
    (event_id,) = place.use("60")
    place.meter.once()
    assert "--yes does it without asking" in place.stripe("cancel", event_id, code=2)
    assert place.billed() == 60
    assert place.meter.command("events", event_id).stdout.count("cancel") == 0


def test_a_days_difference_is_accepted_with_a_name_and_a_reason(place: Site) -> None:
    place.use("60")
    place.meter.once()
    stamp = int(datetime.now(UTC).timestamp()) // 60 * 60 - 7200
    day = f"{datetime.fromtimestamp(stamp, UTC):%Y-%m-%d}"
    foreign = {
        "event_name": METER,
        "timestamp": str(stamp),
        "payload": {"stripe_customer_id": place.customer, "value": "7"},
    }
    place.double.books.add("/v1/billing/meter_events", foreign)
    assert "DIFFERS" in place.stripe("verify", code=1)
    place.stripe("resolve", place.customer, "--day", day, "--reason", "the old script")
    assert "DIFFERS" not in place.stripe("verify")
