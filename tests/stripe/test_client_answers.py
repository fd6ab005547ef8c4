"""Answers that no double gives: of strangers, proxies and odd gateways."""

import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest
import requests
import stripe

from meter.errors import RetryableSinkError
from meter_stripe.answers import Answer, Outcome
from meter_stripe.api_errors import answer_to
from meter_stripe.client import StripeApi
from support.stripe_bench import APIS, EVENT, KEY, Stranger, bench, canned, options, refusal, sent


def test_nobody_listening_is_unknown() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        api = StripeApi(options(f"http://127.0.0.1:{unused.getsockname()[1]}"))
        answer = sent(api)
        assert answer == Answer(
            Outcome.UNKNOWN, message="the connection to Stripe failed: Connection refused"
        )
        with pytest.raises(RetryableSinkError, match="listing the meters: the connection"):
            api.meters()
        api.close()


@pytest.mark.parametrize("status", [200, 201, 302, 400, 401, 403, 404, 407, 429, 502])
def test_a_proxys_page_is_unknown_whatever_its_status(status: int) -> None:
    with Stranger(status=status).at() as url:
        api = StripeApi(options(url))
        answer = sent(api)
        assert (answer.outcome, answer.status) == (Outcome.UNKNOWN, status)
        assert "Sign in to the network" in answer.message
        with pytest.raises(RetryableSinkError, match="Sign in to the network"):
            api.meters()
        api.close()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    elsewhere = Stranger(body="{}")
    with elsewhere.at() as there, Stranger(status=status, headers={"location": there}).at() as url:
        api = StripeApi(options(url))
        answer = sent(api)
        api.close()
    assert answer.outcome is Outcome.UNKNOWN
    assert "redirect" in answer.message
    assert not elsewhere.seen


def test_a_server_that_hangs_is_unknown_after_the_timeout() -> None:
    with Stranger(seconds=30).at() as url, requests.Session() as session:
        session.trust_env = False
        client = stripe.RequestsClient(timeout=(1, 0.2), session=session)
        began = time.monotonic()
        answer = sent(StripeApi(options(url), http_client=client))
        assert answer == Answer(Outcome.UNKNOWN, message="no answer from Stripe in time")
        assert time.monotonic() - began < 10


def test_a_line_in_netrc_does_not_replace_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login sk_live_other password x\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("NO_PROXY", "*")
    stranger = Stranger(body="{}")
    with stranger.at() as url:
        api = StripeApi(options(url))
        # Only where Stripe itself is spoken to is the environment heard: looked at inside.
        session = api._calls._session
        assert session is not None
        session.trust_env = True
        sent(api)
        api.close()
    assert stranger.seen == [("POST", f"Bearer {KEY}")]


def test_no_proxy_stands_before_a_double_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with bench("http") as made:
        assert made.send().outcome is Outcome.DELIVERED
        made.api.close()
        assert made.send(identifier="id-2").outcome is Outcome.DELIVERED


@pytest.mark.parametrize(
    "body",
    [
        "{}",
        "[]",
        "null",
        '"id-1"',
        "17",
        "",
        '{"object": "billing.meter_event", "event_name": "transcription_seconds"}',
        '{"object": "billing.meter_event", "event_name": "other", "identifier": "id-1"}',
        '{"event_name": "transcription_seconds", "identifier": "id-10"}',
        '{"error": {"message": "An event already exists with identifier id-1."}}',
        '[{"identifier": "id-1"}]',
    ],
)
@pytest.mark.parametrize("api", APIS)
def test_a_success_that_is_not_about_our_event_is_unknown(body: str, api: str) -> None:
    assert sent(canned(200, body, api=api)).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 429])
@pytest.mark.parametrize(
    "body",
    [
        "{}",
        "[]",
        "null",
        "17",
        "",
        '{"error": null}',
        '{"error": {}}',
        '{"error": []}',
        '{"error": "unauthorized"}',
        '{"error": "invalid_request", "error_description": "of some gateway"}',
        '{"error": {"code": 429, "message": "of some gateway", "status": "EXHAUSTED"}}',
        '{"error": {"message": null, "type": "invalid_request_error"}}',
        '{"message": "An event already exists with identifier id-1."}',
    ],
)
@pytest.mark.parametrize("api", APIS)
def test_a_refusal_that_is_not_stripes_is_unknown(status: int, body: str, api: str) -> None:
    assert sent(canned(status, body, api=api)).outcome is Outcome.UNKNOWN
    with pytest.raises(RetryableSinkError):
        canned(status, body).meters()


@pytest.mark.parametrize(
    ("message", "outcome"),
    [
        ("An event already exists with identifier id-1.", Outcome.DUPLICATE),
        ("An event already exists with identifier id-1", Outcome.DUPLICATE),
        ("An event already exists with identifier 'id-1'.", Outcome.DUPLICATE),
        ("An event already exists with identifier `id-1`", Outcome.DUPLICATE),
        ("An event already exists with identifier: id-1. See the docs.", Outcome.DUPLICATE),
        ("An event already exists with identifier id-10.", Outcome.UNKNOWN),
        ("An event already exists with identifier id-1.2.", Outcome.UNKNOWN),
        ("An event already exists with identifier id-1-b", Outcome.UNKNOWN),
        ("An event already exists with identifier xid-1", Outcome.UNKNOWN),
        ("An event already exists with identifier other, not id-1.", Outcome.UNKNOWN),
        ("No such customer: 'An event already exists with identifier id-1.'", Outcome.REFUSED),
        ("The event id-1 is odd.", Outcome.REFUSED),
        ("The timestamp cannot be more than 5 minutes in the future.", Outcome.EARLY),
        ("The timestamp cannot be more than 35 days in past.", Outcome.REFUSED),
        ("No such customer: 'Back in the future'", Outcome.REFUSED),
    ],
)
def test_only_our_own_identifier_makes_a_duplicate(message: str, outcome: Outcome) -> None:
    answer = sent(canned(400, refusal(message)))
    assert answer.outcome is outcome
    assert answer.message == message


def test_the_same_words_with_another_status_are_a_refusal() -> None:
    words = refusal("An event already exists with identifier id-1.")
    assert sent(canned(404, words)).outcome is Outcome.REFUSED
    assert sent(canned(401, words)).outcome is Outcome.DENIED
    assert sent(canned(500, words)).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("status", [400, 409])
def test_the_code_of_v2_counts_whatever_its_status(status: int) -> None:
    body = {"error": {"code": "duplicate_meter_event", "message": "Seen."}}
    assert sent(canned(status, json.dumps(body), api="v2")).outcome is Outcome.DUPLICATE
    body = {"error": {"code": "timestamp_in_future", "message": "Not yet."}}
    assert sent(canned(status, json.dumps(body), api="v2")).outcome is Outcome.EARLY
    body = {"error": {"code": "too_many_concurrent_requests", "message": "Wait."}}
    assert sent(canned(status, json.dumps(body), api="v2")).outcome is Outcome.BUSY


def test_a_rate_limit_that_comes_as_400_is_busy() -> None:
    assert sent(canned(400, refusal("Slow.", code="rate_limit"))).outcome is Outcome.BUSY


def test_a_request_that_timed_out_on_its_way_is_unknown() -> None:
    assert sent(canned(408, refusal("Request timeout."))).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("0", 0),
        ("2.5", 2.5),
        ("86400", 3600),
        ("9" * 400, None),
        ("-1", None),
        ("nan", None),
        ("soon", None),
        ("Fri, 20 Nov 2026 12:00:07 GMT", None),
        ("", None),
    ],
)
def test_retry_after_is_believed_within_reason(given: str, seconds: float | None) -> None:
    api = canned(429, refusal("Slow."), headers={"retry-after": given})
    assert sent(api).retry_after == seconds


def test_a_notice_of_stripes_that_becomes_an_error_is_unknown() -> None:
    # Under `python -W error` the SDK raises after Stripe took the event.
    body = json.dumps({"event_name": EVENT, "identifier": "id-1"})
    api = canned(200, body, headers={"Stripe-Notice": "something is new"})
    assert sent(api).outcome is Outcome.UNKNOWN


def test_every_error_of_the_sdk_is_one_outcome() -> None:
    kinds = [stripe.StripeError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    assert stripe.RateLimitError in kinds
    assert len(kinds) > 20
    for kind in kinds:
        error = kind.__new__(kind)
        stripe.StripeError.__init__(error, "words", None, 500, {"error": {}}, {})
        assert answer_to(error, identifier="id-1").outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        ({"cancel": {"identifier": "id-1"}}, Outcome.DELIVERED),
        ({"cancel": {"identifier": None}}, Outcome.DELIVERED),
        ({"cancel": None}, Outcome.DELIVERED),
        ({"cancel": {"identifier": "id-2"}}, Outcome.UNKNOWN),
        ({"event_name": "other"}, Outcome.UNKNOWN),
        ({"type": None}, Outcome.UNKNOWN),
    ],
)
def test_a_cancellation_of_something_else_is_unknown(
    body: dict[str, Any], outcome: Outcome
) -> None:
    whole = json.dumps({"type": "cancel", "event_name": EVENT, **body})
    answer = canned(200, whole).cancel(event_name=EVENT, identifier="id-1")
    assert answer.outcome is outcome


def test_a_message_is_one_line_of_bounded_length() -> None:
    answer = sent(canned(400, refusal("so\nmany  words " * 200)))
    assert "\n" not in answer.message
    assert len(answer.message) <= 501
