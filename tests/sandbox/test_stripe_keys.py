"""API keys: who is let in, to what, and that no key is kept."""

from typing import Any

import pytest
import stripe

from meter.sandbox.stripe_books import StripeBooks
from meter.sandbox.stripe_keys import StripeKey, masked
from sandbox.stripe_client import SECONDS, TRANSPORTS, in_process, world

METER = {
    "display_name": "m",
    "event_name": SECONDS,
    "default_aggregation": {"formula": "sum"},
}
SINK = StripeKey(
    permissions=frozenset(
        {
            "billing_meter_read",
            "billing_meter_event_write",
            "billing_meter_event_summary_read",
        }
    )
)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_an_unknown_key_is_401_and_never_shown_whole(transport: str) -> None:
    with world(transport, keys=["sk_test_known"]) as made:
        for key in ("sk_test_unknown1234", "nonsense"):
            options: Any = {"api_key": key}
            with pytest.raises(stripe.AuthenticationError) as caught:
                made.client.v1.customers.list(None, options)
            assert caught.value.http_status == 401
            assert key not in str(caught.value)
        known: Any = {"api_key": "sk_test_known"}
        assert made.client.v1.customers.list(None, known).data


def test_a_restricted_key_does_what_the_sink_needs_and_no_more() -> None:
    with world("in process", keys={"rk_test_sink": SINK, "sk_test_sandbox": StripeKey()}) as made:
        made.client = in_process(made.books, "rk_test_sink")
        made.send()
        assert made.client.v1.billing.meters.list().data
        assert made.summed(made.clock(), made.clock().replace(minute=1))
        with pytest.raises(stripe.PermissionError) as caught:
            made.client.v1.customers.list()
        assert caught.value.http_status == 403
        assert "rak_customer_read" in str(caught.value)
        params: Any = METER
        with pytest.raises(stripe.PermissionError, match="rak_billing_meter_write"):
            made.client.v1.billing.meters.create(params)
        with pytest.raises(stripe.PermissionError, match="adjustment"):
            made.client.v2.billing.meter_event_adjustments.create(
                {"event_name": SECONDS, "type": "cancel", "cancel": {"identifier": "id-1"}}
            )


def test_write_includes_read() -> None:
    key = StripeKey(permissions=frozenset({"customer_write"}))
    assert key.may("customer_read")
    assert not key.may("price_read")


def test_accounts_have_books_of_their_own() -> None:
    books = StripeBooks(
        keys={
            "sk_test_a": StripeKey(account="acct_a", connected=frozenset({"acct_c"})),
            "sk_test_b": StripeKey(account="acct_b"),
        }
    )
    client = in_process(books, "sk_test_a")
    client.v1.customers.create({"name": "a"})
    client.v1.customers.create({"name": "c"}, {"stripe_account": "acct_c"})
    assert [each.name for each in client.v1.customers.list().data] == ["a"]
    connected: Any = {"stripe_account": "acct_c"}
    assert [each.name for each in client.v1.customers.list(None, connected).data] == ["c"]
    assert not in_process(books, "sk_test_b").v1.customers.list().data
    foreign: Any = {"stripe_account": "acct_b"}
    with pytest.raises(stripe.PermissionError) as caught:
        client.v1.customers.list(None, foreign)
    assert caught.value.http_status == 403


def test_v2_names_its_refusals() -> None:
    with world("in process", keys={"rk_test_none": StripeKey(permissions=frozenset())}) as made:
        made.client = in_process(made.books, "rk_test_none")
        with pytest.raises(stripe.PermissionError):
            made.send_v2()
        made.client = in_process(made.books, "sk_test_other")
        with pytest.raises(stripe.AuthenticationError):
            made.send_v2()


def test_the_books_keep_no_key() -> None:
    with world("http") as made:
        made.send(key="k")
        with pytest.raises(stripe.AuthenticationError):
            made.client.v1.customers.list(None, {"api_key": "sk_prod_secret"})
        assert "sk_" not in str(made.books.requests)
        assert made.books.requests[0].headers["idempotency-key"] == "k"


def test_a_key_is_shown_by_its_kind_and_its_end() -> None:
    assert masked("rk_live_abcdefgh1234") == "rk_live_**********1234"
    assert masked("secret") == "**********cret"
