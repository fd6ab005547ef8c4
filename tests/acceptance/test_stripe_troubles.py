"""Each trouble of docs/stripe.md appears in `meter status`, and its way out works to the end.

Real processes, and Stripe's double over HTTP. What would take a day of waiting is had by `aged`: a
ledger whose meter events were made that much earlier. tests/stripe has more of the same on a clock
of its own: test_sink.py (proof after 23 hours), test_resolving.py, test_audit.py,
test_error_reports.py; and in test_commands.py `flush`, and what waits for its minute.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from acceptance.process import free_port, wait_until
from acceptance.stripe_scene import (
    POSTS,
    add_meter,
    add_stream,
    aged,
    assert_books_agree,
    journal_seconds,
    listening,
    map_customers,
    no_longer_counted,
    post,
    problems,
    rows,
    sent_by_others,
    shown,
    states,
    tried,
)
from meter.sandbox.stripe_faults import StripeFaults, StripePlan
from meter.sandbox.stripe_rules import StripeRules
from meter.sandbox.stripe_sandbox import StripeSandbox
from support.stripe_site import KEY, METER, Site, site

pytestmark = pytest.mark.acceptance

SIGNED = "whsec_of_the_error_reports"
WRONG_KEY = "sk_test_Revoked51Secret9Code"
FORTY_DAYS = 40 * 24 * 60


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as made:
        made.configure(create_missing=True)
        yield made


def test_once_fails_while_usage_is_held_or_refused_and_every_way_out_bills_it(place: Site) -> None:
    only_jobs = [{"event_name": METER, "kinds": "async_completed"}]
    map_customers(place, acme=place.customer, mistyped="cus_nobody")
    by_file = {"customers": {"file": "customers.yaml"}, "create_missing": True}
    place.configure(meters=only_jobs, **by_file)
    place.use("60", customer="acme")
    place.use("30", customer="newcomer")
    (refused,) = place.use("20", customer="mistyped")
    (late,) = place.use("10", customer="acme", minutes_ago=FORTY_DAYS)
    add_stream(place, "acme", 5)

    done = place.meter.once()
    assert done.returncode == 1
    assert "meter: sink billing: 3 held, 1 dead-lettered" in done.stderr
    assert place.billed() == 60
    status, planned = shown(place, "status"), place.stripe("plan")
    for reason in (
        "held           1  customer 'newcomer' has no Stripe customer in customers.yaml; add a",
        "held           1  late: it is older than the 35 days that Stripe takes",
        "held           1  no meter of the sink counts it: see `meters:`",
        "dead           1  Stripe: No such customer: 'cus_nobody'",
    ):
        assert reason in status
        assert reason.split(maxsplit=2)[2] in planned
    assert "held: 3 events of 45 s" in planned
    assert "1 event of 30 s, customer newcomer: customer 'newcomer' has no" in planned
    assert "dead letters: 1 event of 20 s\n  1 event of 20 s, customer mistyped: Stripe:" in planned

    map_customers(place, acme=place.customer, newcomer=place.customer, mistyped=place.customer)
    place.configure(**by_file)
    carried = place.stripe("carry-forward", late, "--reason", "agreed with acme")
    assert "1 event of 10 s: billed under today's date" in carried
    assert place.billed() == 105, "what else was held flows along"
    (row,) = json.loads(shown(place, "dead-letters", "--json"))
    assert (row["event_id"], row["reason"]) == (refused, "Stripe: No such customer: 'cus_nobody'")
    assert "deliver now: meter run --once" in shown(place, "dead-letters", "--retry-all")
    done = place.meter.once()
    assert (done.returncode, done.stderr.count("meter: ")) == (0, 0)
    assert place.billed() == 125
    assert_books_agree(place)


def test_a_running_meter_goes_on_by_itself_and_redrives_what_stripe_reported(place: Site) -> None:
    meter_id = add_meter(place.double)
    map_customers(place, other="cus_other")
    listening(place, customers={"file": "customers.yaml"}, webhook_secret=SIGNED)
    place.meter.start()
    post(place, "a", 60, customer="acme")
    wait_until(lambda: states(place) == ["held"], showing=lambda: states(place))
    words = "customer 'acme' has no Stripe customer in customers.yaml; add a line for it"
    assert f"held           1  {words}" in shown(place, "status")
    map_customers(place, acme=place.customer)
    wait_until(lambda: place.billed() == 60, showing=place.billed)

    place.double.webhook_to(f"{place.meter.url}/webhooks/stripe", SIGNED)
    code = "meter_event_customer_not_found"
    place.double.plan_next(StripePlan(rejected_later=code), path=POSTS)
    reported = post(place, "b", 30, customer="acme")
    wait_until(lambda: "dead" in states(place), showing=lambda: states(place))
    assert place.billed() == 60, "received, and not counted"
    words = f"Stripe reported {code}: The event was rejected: {code}"
    status = shown(place, "status")
    assert f"dead           1  {words}" in status
    assert "meter dead-letters --sink billing" in status
    told = shown(place, "events", reported)
    assert words in told
    assert f"to free it: meter dead-letters --retry {reported}" in told
    freed = shown(place, "dead-letters", "--retry", reported)
    assert "the running `meter run` does it within a second" in freed
    wait_until(lambda: place.billed() == 90, showing=place.billed)

    place.double.books.add(f"/v1/billing/meters/{meter_id}/deactivate", {})
    post(place, "c", 20, customer="acme")
    wait_until(lambda: "dead" in states(place), showing=lambda: states(place))
    words = f"Stripe: The meter for event name {METER} is deactivated"
    assert place.meter.stop() == 0
    assert "with `meter stripe setup --apply --reactivate`" in place.meter.once().stderr
    status = shown(place, "status")
    assert f"billing is parked: meter '{METER}': it is deactivated at Stripe" in status
    assert f"dead           1  {words}" in status
    assert "reactivated the meter" in place.stripe("setup", "--apply", "--reactivate")
    assert "1 dead letter will be offered again" in shown(place, "dead-letters", "--retry-all")
    assert place.meter.once().returncode == 0
    assert place.billed() == 110
    assert_books_agree(place)


def test_while_stripe_is_down_status_says_so_and_then_it_catches_up(place: Site) -> None:
    port = free_port()
    listening(place, base_url=f"http://127.0.0.1:{port}")
    place.meter.start()
    for name in "abc":
        post(place, name, 60, customer="cus_a")
    wait_until(lambda: place.meter.logs("sink.failed"))
    status = shown(place, "status")
    assert "listing the meters: the connection to Stripe failed: Connection refused" in status
    assert (
        "nothing is lost; a running `meter run` tries again what failed, within a minute" in status
    )
    with StripeSandbox(port=port, rules=StripeRules(unknown_customers="accepted")) as double:
        place.double, place.customer = double, "cus_a"
        add_meter(double)
        wait_until(lambda: place.billed() == 180, showing=place.billed)
        double.faults = StripeFaults(response_lost=1.0, paths=(POSTS,))
        post(place, "d", 20, customer="cus_a")
        wait_until(lambda: "retrying" in states(place), showing=lambda: states(place))
        status = shown(place, "status")
        assert "billing does not deliver" not in status
        words = "waits for a clear answer of Stripe's, then it is sent again as it was"
        assert f"waiting        1  {words}" in status
        double.faults = StripeFaults()
        wait_until(lambda: "retrying" not in states(place), showing=lambda: states(place))
        assert place.billed() == 200
        assert_books_agree(place)


def test_a_refused_key_and_a_missing_meter_park_the_sink_and_lose_nothing(tmp_path: Path) -> None:
    with site(tmp_path, keys=(KEY,)) as place:
        place.configure(api_key=WRONG_KEY)
        place.use("60", "30")
        place.meter.spawn("--log-level", "debug")
        wait_until(lambda: place.meter.logs("sink.parked"))
        said = status = shown(place, "status")
        refused = "listing the meters: Stripe refused the api_key of the sink (401)"
        assert f"billing is parked: {refused}" in status
        assert place.meter.stop() == 0

        place.configure()
        done = place.meter.once()
        missing = f"meter '{METER}': Stripe has no such meter: `meter stripe setup --apply` makes"
        assert done.returncode == 1
        assert f"meter: sink billing: 2 pending; parked: {missing}" in done.stderr
        said += (status := shown(place, "status")) + done.stderr
        assert f"billing is parked: {missing}" in status
        said += place.stripe("setup", "--apply")
        assert place.meter.once().returncode == 0
        assert place.billed() == 90
        said += assert_books_agree(place)
        for path in place.meter.folder.rglob("*"):
            if path.is_file() and path != place.meter.file:
                said += path.read_bytes().decode("latin-1")
    assert f"sk_test_**********{WRONG_KEY[-4:]}" in said, "which key, as Stripe masks it"
    for key in (KEY, WRONG_KEY):
        assert key[8:-4] not in said


def test_a_journal_restored_from_an_older_copy_bills_nothing_twice(place: Site) -> None:
    journal, copy = place.meter.folder / "meter.db", place.meter.folder / "copy.db"
    place.use("60")
    place.meter.once()
    shutil.copy(journal, copy)
    place.use("30")
    place.meter.once()
    assert place.billed() == 90
    copy.replace(journal)
    assert place.meter.once().returncode == 1
    status = shown(place, "status")
    assert "billing is parked: Stripe counts" in status
    assert "was the journal restored from an older copy" in status
    assert f"total {METER}: 30 seconds for 1 customer" in place.stripe("plan")
    assert "Stripe counts 30, and this sink sent nothing" in place.stripe("verify", code=1)

    config = yaml.safe_load(place.meter.file.read_text())
    (billing,) = config["sinks"].values()
    since = (datetime.now(UTC) - timedelta(minutes=60)).isoformat()
    config["sinks"] = {"billing_2": {**billing, "start": since, "guard": False}}
    config["pipelines"]["usage"]["to"] = "billing_2"
    place.meter.configure(config)
    place.use("10", minutes_ago=10)
    assert place.meter.once().returncode == 0
    assert place.billed() == 100 == float(journal_seconds(place)), "each second once"


def test_a_dispute_and_a_difference_are_shown_until_a_person_resolves_them(place: Site) -> None:
    """What was lost more than 23 hours ago, and what Stripe took and does not count."""
    books, a = place.double.books, place.customer
    b, c = (str(books.add("/v1/customers", {"name": name})["id"]) for name in "bc")
    place.use("30", customer=c, minutes_ago=48 * 60)
    place.meter.once()
    (delivered,) = place.double.truth().events
    place.use("60", customer=a)
    place.use("40", customer=b)
    place.double.faults = StripeFaults(request_lost=1.0, paths=(POSTS,))
    place.meter.spawn()
    wait_until(lambda: tried(place) == {a, b, c}, showing=lambda: tried(place))
    place.meter.kill()
    place.double.faults = StripeFaults()
    intents = aged(place, hours=24)
    no_longer_counted(place, delivered.identifier)
    sent_by_others(place, "theirs-a", intents[a], 45)
    sent_by_others(place, "theirs-b", intents[b], 1)

    place.meter.start()
    wait_until(lambda: problems(place) == 3, showing=lambda: problems(place))
    status = shown(place, "status")
    for customer, words in ((a, "60 was sent and Stripe counts 45"), (b, "40 was sent and")):
        name = intents[customer].identifier
        assert f"held           1  disputed: {words}" in status
        assert f"`meter stripe resolve {name} --as counted` or `--as missing`" in status
    (line,) = (line for line in status.splitlines() if f"{delivered.identifier} of {c}: " in line)
    assert "counts none of it; see `meter stripe resolve`" in line
    found = place.stripe("verify", code=1)
    assert f"30 sent, Stripe counts 0 ({delivered.identifier}, delivered)" in found
    assert f"  {intents[c].events[0]}\n" in found

    settled = ("--as", "counted", "--reason", "a gift")
    said = place.stripe("resolve", intents[a].identifier, *settled)
    assert "done: it is delivered now" in said
    anew = (intents[b].identifier, "--as", "missing")
    refused = place.stripe("resolve", *anew, code=1)
    assert "Stripe counts 1 in that minute by now, and billing it anew would bill it" in refused
    no_longer_counted(place, "theirs-b")
    assert "1 event billed anew" in place.stripe("resolve", *anew)
    assert "billed anew" in place.stripe("resolve", delivered.identifier, "--as", "missing")
    wanted = {(a, METER): 45, (b, METER): 40, (c, METER): 30}
    wait_until(lambda: place.double.truth().totals == wanted, showing=place.double.truth)
    assert place.meter.stop() == 0
    agreed = place.stripe("verify", "--strict")
    assert "settled as counted by" in agreed
    assert "a gift" in agreed
    assert "DIFFERS" not in agreed


def test_a_conflict_stands_in_status_and_the_first_fact_can_be_taken_back(place: Site) -> None:
    (event_id,) = place.use("60")
    file = place.meter.folder / "events.jsonl"
    first = file.read_text()
    file.write_text(first + first.replace('"seconds":60', '"seconds":90'))
    done = place.meter.once()
    assert done.returncode == 1
    assert "meter: 1 more in quarantine; to look: meter quarantine list" in done.stderr
    assert "quarantine   1 from import" in shown(place, "status")
    ((reason,),) = rows(place, "SELECT reason FROM quarantine")
    differs = "another quantity (60 s, not 90 s)"
    assert reason == f"conflict: {event_id} is recorded with {differs}; the first stands"
    assert place.billed() == 60
    said = place.stripe("cancel", event_id, "--reason", "it was 90 s")
    assert "Stripe cancelled meter-" in said
    assert place.billed() == 0
    assert "nothing differs" in place.stripe("verify")
