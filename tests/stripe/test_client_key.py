"""The key opens its own mode, and stands in no text."""

import json
import logging

import pytest

from meter.errors import FatalSinkError, RetryableSinkError
from meter.sandbox.stripe_keys import StripeKey
from meter_stripe.answers import Outcome
from meter_stripe.api_errors import masked
from meter_stripe.client import StripeApi, StripeRefused
from support.stripe_bench import KEY, READS, Canned, Stranger, bench, options, sent


@pytest.mark.parametrize("prefix", ["sk_test_", "rk_test_", "sk_live_", "rk_live_"])
def test_the_mode_is_that_of_the_key(prefix: str) -> None:
    api = StripeApi(options(key=f"{prefix}abc"), http_client=Canned(200, "{}"))
    assert api.mode == prefix[3:7]


@pytest.mark.parametrize(
    "key",
    [
        "",
        "pk_test_abc",
        "sk_test_",
        "whsec_abc",
        "sk_test_abc\n",
        " sk_test_abc",
        "sk_test_a'b",
        "sk_test_ä",
    ],
)
def test_what_is_no_key_is_fatal_and_not_shown(key: str) -> None:
    with pytest.raises(FatalSinkError, match="api_key") as fatal:
        StripeApi(options(key=key))
    assert "abc" not in str(fatal.value)


def test_the_key_is_in_no_text_that_comes_out(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    words = json.dumps({"error": {"message": f"What is {KEY}? {'x' * 600} ECHO", "type": "t"}})
    texts: list[str] = []
    for status in (200, 400, 401, 403, 409, 429, 500):
        for body in (words, "<p>ECHO</p>", "ECHO" * 40, '{"error": "ECHO"}', '["ECHO"]'):
            with Stranger(status=status, body=body).at() as url:
                api = StripeApi(options(url))
                texts += [repr(api), str(api), repr(vars(api)), repr(options(url))]
                texts.append(repr(sent(api)))
                for call in READS:
                    with pytest.raises((FatalSinkError, RetryableSinkError, StripeRefused)) as told:
                        call(api)
                    texts += [repr(told.value), str(told.value), str(told.value.args)]
                    assert told.value.__context__ is None
                api.close()
    assert "sk_test_…" in "".join(texts)
    assert caplog.records
    texts += [record.getMessage() for record in caplog.records]
    # What pytest shows of a traceback has the test's own source, not the key's value.
    for text in texts:
        assert KEY not in text
        assert KEY[:-1] not in text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Bearer sk_live_abcDEF123.", "Bearer sk_live_…."),
        ("rk_test_a and whsec_b", "rk_test_… and whsec_…"),
        ("Bearer%20sk_test_abc%0A", "Bearer%20sk_test_…%0A"),
        ("*sk_test_abc*", "*sk_test_…*"),
        ("sk_org_live_abc", "sk_org_live_…"),
        ("sk_test_**********1234", "sk_test_**********1234"),
        ("'rak_billing_meter_read' of task_1", "'rak_billing_meter_read' of task_1"),
    ],
)
def test_whole_keys_are_cut_out_and_stripes_own_masks_stay(text: str, shown: str) -> None:
    assert masked(text) == shown


def test_a_missing_permission_is_named_in_stripes_words() -> None:
    key = "rk_test_Restricted99"
    keys = {key: StripeKey(permissions=frozenset({"billing_meter_event_write"}))}
    with bench("http", key=key, books={"keys": keys}) as made:
        assert made.send().outcome is Outcome.DELIVERED
        with pytest.raises(FatalSinkError, match="rak_billing_meter_read") as fatal:
            made.api.meters()
        assert key not in str(fatal.value)
