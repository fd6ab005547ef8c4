"""What meter sends to Stripe is what Stripe's API description allows, and nothing else leaves.

One site makes every kind of call: setup with prices, v1 and v2, proof, verify, resolve, cancel,
error reports, customers by metadata. Part of its usage comes from a transcript with words in it.
"""

from __future__ import annotations

import json
from ast import literal_eval
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from acceptance.process import API_KEY, HEADER, HOOK, Meter, wait_until
from acceptance.process import SECRET as HOOK_SECRET
from acceptance.stripe_scene import (
    ADJUSTMENTS,
    POSTS,
    add_meter,
    aged,
    listening,
    no_longer_counted,
    post,
    shown,
    states,
    tried,
)
from meter.sandbox.documents import SPOKEN_TEXT
from meter.sandbox.double import AssemblyAISandbox
from meter.sandbox.faults import JobPlan
from meter.sandbox.stripe_faults import StripeFaults, StripePlan
from meter.sandbox.stripe_sandbox import StripeSandbox
from meter.sandbox.stripe_truth import RequestRecord
from sandbox.stripe_client import check_request, description
from support.stripe_site import METER, Site

pytestmark = pytest.mark.acceptance

SIGNED = "whsec_of_the_error_reports"
PREMIUM = "premium_seconds"
LABEL = "meter_customer"
OURS = ("larkspur-mutual", "second-customer", "third-customer")
"""Customers as we call them: Stripe is told its own ids only."""
PROJECT = "project-of-the-webhook"
MANY = 101
"""More than a page of what is listed."""
SUMMARIES = "/v1/billing/meters/{id}/event_summaries"
EVERY_CALL = {
    ("GET", "/v1/billing/meters"),
    ("POST", "/v1/billing/meters"),
    ("POST", "/v1/billing/meters/{id}/reactivate"),
    ("GET", SUMMARIES),
    ("GET", "/v1/products"),
    ("POST", "/v1/products"),
    ("GET", "/v1/prices"),
    ("POST", "/v1/prices"),
    ("GET", "/v1/customers"),
    ("GET", "/v2/core/events/{id}"),
    ("POST", POSTS),
    ("POST", ADJUSTMENTS),
    ("POST", POSTS.replace("v1", "v2")),
    ("POST", ADJUSTMENTS.replace("v1", "v2")),
}
WATCH = """
import sys

def note(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname"):
        at = arguments[0] if event.startswith("socket.get") else arguments[1][0:2]
        with open({path!r}, "a") as file:
            file.write(repr((event, at)) + "\\n")

sys.addaudithook(note)
"""
"""Python imports it as `sitecustomize` in every process that meter starts."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What was sent: to the doubles, and by each process's own account."""

    requests: tuple[RequestRecord, ...]
    connections: frozenset[str]
    stripe_port: int
    transcripts_port: int
    event_ids: tuple[str, ...]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    folder = tmp_path_factory.mktemp("requests")
    watched, noted = folder / "watched", folder / "connections"
    watched.mkdir()
    (watched / "sitecustomize.py").write_text(WATCH.format(path=str(noted)))
    with StripeSandbox() as stripe, AssemblyAISandbox(latency=0) as transcripts:
        place = Site(Meter(folder / "site", packages=watched), stripe, "")
        try:
            event_ids = every_call(place, transcripts, fill(stripe))
        finally:
            place.meter.kill()
        yield Ran(
            requests=stripe.books.requests,
            connections=frozenset(noted.read_text().splitlines()),
            stripe_port=int(stripe.base_url.rpartition(":")[2]),
            transcripts_port=int(transcripts.base_url.rpartition(":")[2]),
            event_ids=event_ids,
        )


def fill(stripe: StripeSandbox) -> list[str]:
    """Give Stripe what an account has; return the ids of our customers there."""
    for number in range(MANY):
        add_meter(stripe, f"other_{number}")
        stripe.books.add("/v1/customers", {"name": f"other_{number}"})
    return [
        str(stripe.books.add("/v1/customers", {"name": "x", "metadata": {LABEL: name}})["id"])
        for name in OURS
    ]


def every_call(
    place: Site, transcripts: AssemblyAISandbox, customers: list[str]
) -> tuple[str, ...]:
    """Have meter do all that it does at Stripe; return the ids of the events."""
    stripe = place.double
    stripe.books.add(f"/v1/billing/meters/{add_meter(stripe, PREMIUM)}/deactivate", {})
    hook = {"type": "webhook", "path": HOOK, "api_key": API_KEY, "secret": HOOK_SECRET}
    collectors = {"transcripts": {**hook, "base_url": transcripts.base_url}}
    options = {
        "customers": {"metadata": LABEL},
        "meters": [{"event_name": METER}, {"event_name": PREMIUM, "models": "none-such"}],
        "webhook_secret": SIGNED,
    }
    listening(place, collectors=collectors, **options)
    prices = ("--currency", "usd", "--price", f"{METER}=0.36/hour")
    place.stripe("setup", "--apply", "--reactivate", *prices)
    shown(place, "check", "--connect")

    place.meter.start()
    stripe.webhook_to(f"{place.meter.url}/webhooks/stripe", SIGNED)
    spoken = transcribe(place, transcripts)
    wait_until(lambda: len(stripe.truth().events) == 1)
    stripe.plan_next(StripePlan(rejected_later="meter_event_customer_not_found"), path=POSTS)
    reported = post(place, "reported", 30, customer=OURS[1])
    wait_until(lambda: states(place) == ["dead"], showing=lambda: states(place))
    stripe.faults = StripeFaults(request_lost=1.0, paths=(POSTS,))
    lost = post(place, "lost", 20, customer=OURS[2])
    wait_until(lambda: customers[2] in tried(place), showing=lambda: tried(place))
    place.meter.kill()

    stripe.faults = StripeFaults()
    first = aged(place, hours=24)[customers[0]]
    no_longer_counted(place, first.identifier)
    place.meter.start()
    wait_until(lambda: any(is_probe(request, customers[2]) for request in stripe.books.requests))
    assert place.meter.stop() == 0
    place.stripe("plan")
    place.stripe("verify", code=1)
    place.stripe("resolve", first.identifier, "--as", "missing")
    place.stripe("cancel", spoken)

    listening(place, collectors=collectors, api="v2", **options)
    shown(place, "dead-letters", "--retry-all")
    assert "1 held" not in place.stripe("flush", code=1), "what waits for proof is left"
    place.stripe("cancel", reported)
    return spoken, reported, lost


def transcribe(place: Site, transcripts: AssemblyAISandbox) -> str:
    """Have something transcribed; return the id of the event that it becomes."""
    transcripts.plan_next(JobPlan(status="completed", audio_duration=60))
    answer = httpx.post(
        f"{transcripts.base_url}/v2/transcript",
        json={
            "audio_url": "https://recordings.example/a.mp3",
            "webhook_url": f"{place.meter.url}{HOOK}?customer_id={OURS[0]}&project_id={PROJECT}",
            "webhook_auth_header_name": HEADER,
            "webhook_auth_header_value": HOOK_SECRET,
        },
        headers={"authorization": API_KEY},
        trust_env=False,
    )
    return f"assemblyai:transcript:{answer.raise_for_status().json()['id']}"


def is_probe(request: RequestRecord, customer: str) -> bool:
    """Tell whether a request asks for one minute of a customer."""
    asked = request.params
    return (
        request.route == SUMMARIES
        and asked["customer"] == customer
        and int(asked["end_time"]) - int(asked["start_time"]) == 60
    )


def test_every_request_is_one_that_stripe_describes(ran: Ran) -> None:
    description()
    for request in ran.requests:
        check_request(request.method, request.path, request.params)
    assert {(request.method, request.route) for request in ran.requests} == EVERY_CALL
    paged = {request.route for request in ran.requests if "starting_after" in request.params}
    assert paged == {"/v1/billing/meters", "/v1/customers"}


def test_a_meter_event_carries_stripes_ids_a_number_and_a_time_and_nothing_else(ran: Ran) -> None:
    sent = [request.params for request in ran.requests if request.route.endswith("/meter_events")]
    assert len(sent) >= 5
    for event in sent:
        assert event.keys() == {"event_name", "identifier", "payload", "timestamp"}
        assert event["payload"].keys() == {"stripe_customer_id", "value"}
        assert event["payload"]["stripe_customer_id"].startswith("cus_")
        assert event["payload"]["value"].isdecimal()


def test_nothing_that_was_spoken_and_no_name_of_ours_is_sent(ran: Ran) -> None:
    said = json.dumps([[r.path, r.params, dict(r.headers)] for r in ran.requests])
    words = {word.strip("?,.") for word in SPOKEN_TEXT.split() if len(word) > 6}
    assert "Larkspur" in words
    provider_ids = [event_id.rpartition(":")[2] for event_id in ran.event_ids]
    for text in (*words, *OURS, PROJECT, *provider_ids, "recordings.example", API_KEY, SIGNED):
        assert text not in said


def test_nothing_goes_anywhere_but_to_the_doubles(ran: Ran) -> None:
    addresses = {literal_eval(line) for line in ran.connections}
    connected = {at for event, at in addresses if event == "socket.connect"}
    assert ("127.0.0.1", ran.stripe_port) in connected
    assert connected <= {("127.0.0.1", port) for port in (ran.stripe_port, ran.transcripts_port)}
    looked_up = {at for event, at in addresses if event.startswith("socket.get")}
    assert looked_up <= {"127.0.0.1", "localhost"}
