"""`meter stripe setup`: shows, then makes what is missing, once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from meter.errors import ConfigurationError, SinkError
from meter.sandbox.stripe_books import StripeBooks
from meter.sandbox.stripe_faults import StripePlan
from meter.sandbox.stripe_inprocess import InProcessStripe
from meter.sandbox.stripe_keys import EVERYTHING, StripeKey
from meter_stripe.client import StripeApi
from meter_stripe.options import StripeOptions
from meter_stripe.permissions import PERMISSIONS, permissions_for
from meter_stripe.prices import currency_of, read_price
from meter_stripe.setup import carry_out, prices_asked
from sandbox.stripe_client import FakeClock
from sandbox.stripe_client import check_request as described
from support.stripe_site import KEY, METER, Site, site

PRICED = ("--apply", "--currency", "usd", "--price", f"{METER}=0.36/hour")


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as made:
        yield made
        for request in made.double.books.requests:
            described(request.method, request.path, request.params)


def made_at(shop: Site) -> list[str]:
    return [
        request.path
        for request in shop.double.books.requests
        if request.method == "POST" and request.status == 200
    ]


def test_it_shows_what_it_would_make_and_makes_nothing(shop: Site) -> None:
    said = shop.stripe("setup", "--currency", "usd", "--price", f"{METER}=0.36/hour")
    assert "missing" in said
    assert f"1. make the meter {METER}" in said
    assert f"2. make the product {METER}" in said
    assert (
        f"3. make a price for {METER}: 0.36 USD per hour, billed monthly (Stripe stores it as "
        "unit_amount_decimal 0.01)" in said
    )
    assert "nothing was made now" in said
    assert made_at(shop) == []


def test_without_prices_it_makes_only_meters(shop: Site) -> None:
    assert f"made the meter {METER}: mtr_" in shop.stripe("setup", "--apply")
    assert made_at(shop) == ["/v1/billing/meters"]


def test_with_a_price_usage_can_be_invoiced(shop: Site) -> None:
    said = shop.stripe("setup", *PRICED)
    assert "made the price price_" in said
    assert made_at(shop) == ["/v1/billing/meters", "/v1/products", "/v1/prices"]
    (price,) = [
        r for r in shop.double.books.requests if r.path == "/v1/prices" and r.method == "POST"
    ]
    assert price.params["unit_amount_decimal"] == "0.01"
    assert price.params["recurring"]["usage_type"] == "metered"
    assert "0.0001 USD per second, every month (price_" in shop.stripe("setup")


def test_twice_is_nothing_new(shop: Site) -> None:
    shop.stripe("setup", *PRICED)
    before = made_at(shop)
    assert "nothing is to be made" in shop.stripe("setup", *PRICED)
    assert made_at(shop) == before


def test_another_price_is_not_put_beside_the_first(shop: Site) -> None:
    shop.stripe("setup", *PRICED)
    said = shop.stripe(
        "setup", "--apply", "--currency", "usd", "--price", f"{METER}=0.0002", code=1
    )
    assert "you ask for 0.0002 USD per second = 0.72 USD per hour" in said
    assert "there is a price already: 0.0001 USD per second" in said
    assert made_at(shop).count("/v1/prices") == 1


def test_a_deactivated_meter_is_reactivated_when_asked(shop: Site) -> None:
    shop.stripe("setup", "--apply")
    (meter,) = shop.double.books._ledger("acct_sandbox", livemode=False).meters
    shop.double.books.add(f"/v1/billing/meters/{meter}/deactivate", {})
    assert "deactivated and refuses usage: --reactivate" in shop.stripe("setup", "--apply", code=1)
    assert "reactivated the meter" in shop.stripe("setup", "--apply", "--reactivate")
    assert "active, sums up" in shop.stripe("setup")


def test_a_meter_that_does_not_sum_up_cannot_be_put_right(shop: Site) -> None:
    shop.double.books.add(
        "/v1/billing/meters",
        {
            "display_name": METER,
            "event_name": METER,
            "default_aggregation": {"formula": "count"},
        },
    )
    said = shop.stripe("setup", *PRICED, code=1)
    assert "aggregates by count, and that cannot be changed" in said
    assert made_at(shop) == []


def test_the_webhook_and_the_permissions_are_printed(shop: Site) -> None:
    shop.configure(webhook_secret="whsec_of_the_test", webhook_path="/hooks/stripe")
    said = shop.stripe("setup")
    assert "https://YOUR-HOST/hooks/stripe" in said
    assert "v1.billing.meter.error_report_triggered" in said
    assert "rak_billing_meter_event_write" in said
    assert "rak_event_read" in said
    assert "whsec_of_the_test" not in said


def test_bad_prices_are_refused_before_stripe_is_asked(shop: Site) -> None:
    for arguments, words in [
        (("--price", f"{METER}=1"), "--price needs --currency"),
        (("--currency", "usd", "--price", "other=1"), "the sink has no such meter"),
        (("--currency", "dollars", "--price", f"{METER}=1"), "expected three letters"),
        (("--currency", "usd", "--price", f"{METER}=1e-4"), f"{METER}=1e-4: expected an amount of"),
        (
            ("--currency", "usd", "--price", f"{METER}=0.37/hour"),
            f"{METER}=0.37/hour: 0.37 USD per hour",
        ),
        (("--price", f"{METER}=1", "--price", f"{METER}=2"), "it is given twice"),
        (("--price", "nonsense"), "expected METER=AMOUNT"),
    ]:
        assert words in shop.stripe("setup", "--apply", *arguments, code=2)
    assert shop.double.books.requests == ()


def test_a_wrong_sink_is_named(shop: Site) -> None:
    assert "no sink 'other' of type stripe there; of type stripe: billing" in shop.stripe(
        "setup", "--sink", "other", code=2
    )


def test_a_key_that_may_not_read_prices_still_shows_the_meters(tmp_path: Path) -> None:
    key = StripeKey(permissions=frozenset({"billing_meter_read"}))
    with site(tmp_path, keys={KEY: key}) as shop:
        said = shop.stripe("setup")
        assert "missing" in said
        assert "rak_product_read" in said


def test_the_list_of_permissions_is_what_the_double_asks_for() -> None:
    known = {f"rak_{name}" for name in EVERYTHING}
    assert {permission.name for permission in PERMISSIONS} <= known
    options = sink_options()
    assert "rak_customer_read" not in {p.name for p in permissions_for(options)}


# -- interrupted anywhere, in process --------------------------------------------------------------


def sink_options(**more: Any) -> StripeOptions:
    return StripeOptions.model_validate(
        {
            "api_key": KEY,
            "meters": [{"event_name": METER}, {"event_name": "minutes", "unit": "minute"}],
            "customers": "passthrough",
            **more,
        }
    )


@pytest.mark.parametrize("failing", range(14))
@pytest.mark.parametrize(
    "plan",
    [
        StripePlan(lost="request"),
        StripePlan(lost="response"),
        StripePlan(status=500),
        StripePlan(status=500, recorded=False),
    ],
    ids=lambda plan: f"{plan.lost or plan.status}-{plan.recorded}",
)
def test_an_interruption_anywhere_goes_on_where_it_was(failing: int, plan: StripePlan) -> None:
    books = StripeBooks(clock=FakeClock())
    books.plan_next(*[StripePlan()] * failing, plan)
    options = sink_options()
    prices = prices_asked(options, {METER: "0.0001", "minutes": "0.005"}, "usd")
    for _ in range(3):
        api = StripeApi(options, http_client=InProcessStripe(books))
        with suppress(SinkError):
            list(carry_out(api, options, prices, reactivate=False))
    api = StripeApi(options, http_client=InProcessStripe(books))
    assert len(api.meters()) == 2
    assert len(api.products()) == 2
    assert sorted(price.unit_amount or 0 for price in api.prices()) == [
        Decimal("0.01"),
        Decimal("0.5"),
    ]


def test_prices_are_exact_or_refused() -> None:
    def cents(text: str, unit: str = "second", currency: str = "usd") -> str:
        price = read_price(text, unit=unit, currency=currency_of(currency))
        return format(price.unit_amount.normalize(), "f")

    assert cents("0.0001") == "0.01"
    assert cents("0.36/hour") == "0.01"
    assert cents("0.36/hour", unit="hour") == "36"
    assert cents("0.006/minute", unit="hour") == "36"
    assert cents("100", currency="JPY") == "100"
    assert cents("1", currency="kwd") == "1000"
    assert cents("0.00000000000001") == "0.000000000001"
    for text, currency in [
        ("0.000000000000001", "usd"),
        ("0.37/hour", "usd"),
        ("-1", "usd"),
        ("1,5", "usd"),
        ("", "usd"),
        ("1/day", "usd"),
        ("1", "isk"),
    ]:
        with pytest.raises(ConfigurationError):
            cents(text, currency=currency)
