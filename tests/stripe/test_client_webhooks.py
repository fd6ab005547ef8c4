"""What Stripe posts is verified, and the report that it announces is fetched."""

import json
import time
from datetime import UTC

import pytest
import stripe

from meter.sandbox.stripe_faults import StripePlan
from meter_stripe.client import SignatureRefused, StripeApi, StripeRefused
from support.stripe_bench import bench, canned

SECRET = "whsec_shared"


THIN = {
    "id": "evt_1",
    "object": "v2.core.event",
    "type": "v1.billing.meter.error_report_triggered",
    "created": "2026-11-20T12:00:00.000Z",
    "livemode": False,
    "related_object": {"id": "mtr_1", "type": "billing.meter", "url": "/v1/billing/meters/mtr_1"},
}


def signed(body: str, *, secret: str = SECRET, at: int | None = None) -> str:
    made = stripe.WebhookSignature.generate_signature_header(body, secret, at)
    return str(made)


def test_a_signed_notification_is_read() -> None:
    body = json.dumps(THIN)
    told = StripeApi.notification(body.encode(), signed(body), SECRET)
    assert (told.event_id, told.type) == ("evt_1", THIN["type"])
    assert (told.livemode, told.meter_id) == (False, "mtr_1")


def test_a_notification_about_no_meter_has_none() -> None:
    body = json.dumps({**THIN, "type": "v1.billing.meter.no_meter_found", "related_object": None})
    assert StripeApi.notification(body.encode(), signed(body), SECRET).meter_id is None


@pytest.mark.parametrize(
    "signature",
    ["", "t=1", "v1=abc", "t=x,v1=abc", "t=1,v1=abc", "t=1,v1=é", "nonsense", "t=1,v0=abc"],
)
def test_a_signature_that_does_not_fit_is_refused(signature: str) -> None:
    with pytest.raises(SignatureRefused):
        StripeApi.notification(json.dumps(THIN).encode(), signature, SECRET)


def test_anothers_old_or_changed_signature_is_refused() -> None:
    body = json.dumps(THIN)
    for signature in (signed(body, secret="whsec_other"), signed(body, at=int(time.time()) - 301)):
        with pytest.raises(SignatureRefused):
            StripeApi.notification(body.encode(), signature, SECRET)
    with pytest.raises(SignatureRefused):
        StripeApi.notification(body.encode() + b" ", signed(body), SECRET)
    for secret in ("", " "):
        with pytest.raises(SignatureRefused) as refused:
            StripeApi.notification(body.encode(), signed(body, secret=secret), secret)
        assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    "body", ["", "17", "[]", "{}", '{"id": "evt_1", "object": "event", "type": "x"}', "not JSON"]
)
def test_what_is_signed_and_no_thin_event_is_refused(body: str) -> None:
    with pytest.raises(SignatureRefused, match="thin"):
        StripeApi.notification(body.encode(), signed(body), SECRET)


def test_a_body_that_is_no_text_is_refused() -> None:
    with pytest.raises(SignatureRefused):
        StripeApi.notification(b"\xff\xfe", "t=1,v1=abc", SECRET)


def test_a_report_that_is_pushed_is_verified_and_fetched_with_its_samples() -> None:
    with bench("in process") as made:
        made.books.webhook_to("http://127.0.0.1:1/", SECRET)
        for number in range(7):
            made.plan(StripePlan(rejected_later="meter_event_customer_not_found"))
            made.send(identifier=f"id-{number}")
        made.plan(StripePlan(rejected_later="meter_event_invalid_value"))
        made.send(identifier="odd")
        pushes = made.books.take_pushes()
        signatures = [push.headers(time.time())["stripe-signature"] for push in pushes]
        told = [
            StripeApi.notification(push.body, signature, SECRET)
            for push, signature in zip(pushes, signatures, strict=True)
        ]
        assert {each.meter_id for each in told} == {made.meter}
        reports = [made.api.error_report(each.event_id) for each in told]
        assert sum(sum(report.codes.values()) for report in reports) == 8
        assert {report.meter_id for report in reports} == {made.meter}
        samples = {each.identifier: each.code for report in reports for each in report.samples}
        assert samples["odd"] == "meter_event_invalid_value"
        assert samples["id-0"] == "meter_event_customer_not_found"
        for report in reports:
            assert report.start is not None
            assert report.end is not None
            assert report.start.tzinfo is report.end.tzinfo is UTC
        assert made.api.reads == len(reports)
        with pytest.raises(StripeRefused, match="No such event"):
            made.api.error_report("evt_none")


def test_a_report_of_texts_and_gaps_is_read() -> None:
    kinds = [
        {"code": "a", "error_count": "3", "sample_errors": [{"error_message": "m"}]},
        {"code": "a", "error_count": 2, "sample_errors": None},
        {"code": "b", "sample_errors": [{"request": {"identifier": "id-1"}}]},
    ]
    document = {**THIN, "data": {"reason": {"error_count": 6, "error_types": kinds}}}
    report = canned(200, json.dumps(document)).error_report("evt_1")
    assert report.codes == {"a": 5, "b": 1}
    assert [sample.identifier for sample in report.samples] == [None, "id-1"]
    assert report.start is None
    bare = canned(200, json.dumps(THIN)).error_report("evt_1")
    assert (bare.codes, bare.samples) == ({}, ())
