"""What `meter stripe setup` makes, it makes once."""

from collections.abc import Iterator
from decimal import Decimal

import pytest

from meter_stripe.answers import Outcome
from meter_stripe.client import StripeRefused
from sandbox.stripe_client import TRANSPORTS
from support.stripe_bench import EVENT, Bench, bench


@pytest.fixture(params=TRANSPORTS)
def v1(request: pytest.FixtureRequest) -> Iterator[Bench]:
    with bench(request.param) as made:
        yield made


def test_setup_makes_meter_product_and_price_once(v1: Bench) -> None:
    api = v1.api
    for _ in range(2):
        meter = api.create_meter(
            event_name="minutes", display_name="Minutes", idempotency_key="meter-1"
        )
        product = api.create_product(
            name="Transcription", metadata={"meter": "minutes"}, idempotency_key="product-1"
        )
        price = api.create_price(
            product=product.id,
            meter_id=meter.id,
            currency="usd",
            unit_amount_decimal="0.0000001",
            idempotency_key="price-1",
            lookup_key="transcription",
        )
    assert (meter.active, meter.formula) == (True, "sum")
    assert (meter.customer_key, meter.value_key) == ("stripe_customer_id", "value")
    assert api.products() == [product]
    assert product.metadata == {"meter": "minutes"}
    assert api.prices(product=product.id) == api.prices(meter_id=meter.id) == [price]
    assert api.prices(product=product.id, meter_id=v1.meter) == []
    assert price.unit_amount == Decimal("0.0000001")
    assert (price.interval, price.usage_type, price.meter_id) == ("month", "metered", meter.id)
    assert (price.lookup_key, price.currency, price.active) == ("transcription", "usd", True)
    assert len(api.meters()) == 2


def test_a_meter_can_be_reactivated_more_than_once(v1: Bench) -> None:
    for _ in range(2):
        v1.books.add(f"/v1/billing/meters/{v1.meter}/deactivate", {})
        assert v1.send().outcome is Outcome.REFUSED or v1.total
        assert v1.api.reactivate_meter(v1.meter).active
    with pytest.raises(StripeRefused, match="already active"):
        v1.api.reactivate_meter(v1.meter)


def test_a_key_used_for_another_object_is_refused_to_setup(v1: Bench) -> None:
    v1.api.create_product(name="One", metadata={}, idempotency_key="k")
    with pytest.raises(StripeRefused, match="same parameters"):
        v1.api.create_product(name="Two", metadata={}, idempotency_key="k")
    with pytest.raises(StripeRefused, match="already a meter"):
        v1.api.create_meter(event_name=EVENT, display_name="Again", idempotency_key="m")
