"""Meters, customers, products and prices, through the SDK."""

from collections.abc import Iterator
from typing import Any

import pytest
import stripe

from sandbox.stripe_client import TRANSPORTS, World
from sandbox.stripe_client import world as a_world


@pytest.fixture(params=TRANSPORTS)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with a_world(request.param) as world:
        yield world


@pytest.fixture
def quick() -> Iterator[World]:
    with a_world("in process") as world:
        yield world


def create_meter(world: World, **fields: Any) -> Any:
    params: Any = {
        "display_name": "Streaming",
        "event_name": "streaming_seconds",
        "default_aggregation": {"formula": "sum"},
        **fields,
    }
    return world.client.v1.billing.meters.create(params)


def test_a_meter_is_immutable_but_for_its_name(world: World) -> None:
    meter = create_meter(world)
    assert (meter.status, meter.customer_mapping.event_payload_key) == (
        "active",
        "stripe_customer_id",
    )
    meters = world.client.v1.billing.meters
    assert meters.retrieve(meter.id).to_dict() == meter.to_dict()
    world.clock.advance(5)
    renamed = meters.update(meter.id, {"display_name": "Live"})
    assert (renamed.display_name, renamed.updated - renamed.created) == ("Live", 5)
    change: Any = {"event_name": "other"}
    with pytest.raises(stripe.InvalidRequestError) as caught:
        meters.update(meter.id, change)
    assert caught.value.code == "parameter_unknown"


def test_meters_are_listed_newest_first_and_by_status(world: World) -> None:
    other = create_meter(world).id
    meters = world.client.v1.billing.meters
    gone = meters.deactivate(world.meter)
    assert gone.status_transitions.deactivated_at == int(world.clock().timestamp())
    assert [meter.id for meter in meters.list().data] == [other, world.meter]
    assert [meter.id for meter in meters.list({"status": "active"}).data] == [other]
    assert [meter.id for meter in meters.list({"status": "inactive"}).data] == [world.meter]
    with pytest.raises(stripe.InvalidRequestError, match="already inactive"):
        meters.deactivate(world.meter)
    assert meters.reactivate(world.meter).status_transitions.deactivated_at is None


def test_a_deactivated_meter_keeps_its_event_name(quick: World) -> None:
    meter = create_meter(quick)
    quick.client.v1.billing.meters.deactivate(meter.id)
    with pytest.raises(stripe.InvalidRequestError, match="already a meter"):
        create_meter(quick)


@pytest.mark.parametrize(
    "fields",
    [
        {"display_name": None},
        {"display_name": "x" * 251},
        {"event_name": "x" * 101},
        {"default_aggregation": {"formula": "max"}},
        {"default_aggregation": {"formula": "sum", "window": "day"}},
        {"customer_mapping": {"type": "by_name", "event_payload_key": "k"}},
        {"customer_mapping": {"type": "by_id"}},
        {"event_time_window": "week"},
    ],
)
def test_a_meter_that_stripe_would_not_make_is_not_made(
    quick: World, fields: dict[str, Any]
) -> None:
    with pytest.raises(stripe.InvalidRequestError) as caught:
        create_meter(quick, **fields)
    assert caught.value.param
    assert len(quick.client.v1.billing.meters.list().data) == 1


def test_customers_are_found_page_by_page_with_their_metadata(world: World) -> None:
    made = [
        world.client.v1.customers.create({"name": f"{number}", "metadata": {"meter": f"{number}"}})
        for number in range(7)
    ]
    assert world.client.v1.customers.retrieve(made[0].id).to_dict() == made[0].to_dict()
    pages = world.client.v1.customers.list({"limit": 3})
    assert pages.has_more
    listed = list(pages.auto_paging_iter())
    assert [each.id for each in listed] == [*(each.id for each in reversed(made)), world.customer]
    assert listed[0].metadata is not None
    assert listed[0].metadata["meter"] == "6"
    page = world.client.v1.customers.list({"limit": 2, "ending_before": made[2].id})
    assert [each.id for each in page.data] == [made[4].id, made[3].id]
    updated = world.client.v1.customers.update(made[0].id, {"metadata": {"meter": "", "a": "b"}})
    assert updated.metadata is not None
    assert updated.metadata.to_dict() == {"a": "b"}
    with pytest.raises(stripe.InvalidRequestError) as caught:
        world.client.v1.customers.retrieve("cus_nobody")
    assert (caught.value.http_status, caught.value.code) == (404, "resource_missing")


def test_a_product_and_a_price_of_a_meter(world: World) -> None:
    product = world.client.v1.products.create(
        {"name": "Speech", "id": "meter_speech", "unit_label": "second"}
    )
    price = world.client.v1.prices.create(
        {
            "product": product.id,
            "currency": "EUR",
            "unit_amount_decimal": "0.0185",  # type: ignore[typeddict-item]  # a text goes too
            "lookup_key": "meter:speech",
            "recurring": {"interval": "month", "usage_type": "metered", "meter": world.meter},
            "transform_quantity": {"divide_by": 60, "round": "up"},
        }
    )
    assert (price.currency, price.unit_amount, price.type) == ("eur", None, "recurring")
    assert str(price.unit_amount_decimal) == "0.0185"
    assert price.recurring is not None
    assert price.recurring.meter == world.meter
    assert price.transform_quantity is not None
    assert price.transform_quantity.divide_by == 60
    prices, products = world.client.v1.prices, world.client.v1.products
    assert prices.retrieve(price.id).id == price.id
    assert products.retrieve(product.id).name == "Speech"
    assert [each.id for each in products.list({"ids": [product.id, "other"]}).data] == [product.id]
    for found, filters in (
        (True, {"lookup_keys": ["meter:speech"]}),
        (False, {"lookup_keys": ["other"]}),
        (True, {"recurring": {"meter": world.meter}}),
        (False, {"recurring": {"meter": "mtr_other"}}),
        (True, {"product": product.id, "active": True}),
        (False, {"active": False}),
    ):
        params: Any = filters
        assert bool(prices.list(params).data) is found, filters


@pytest.mark.parametrize(
    "fields",
    [
        {"recurring": {"interval": "month", "usage_type": "metered", "meter": "mtr_none"}},
        {"recurring": {"interval": "month", "usage_type": "metered"}},
        {"recurring": {"interval": "century"}},
        {"unit_amount": None},
        {"unit_amount": "1.5"},
        {"unit_amount_decimal": "0.1", "unit_amount": "1"},
        {"product": "prod_none"},
        {"product": None},
        {"lookup_key": "taken"},
    ],
)
def test_a_price_that_stripe_would_not_make_is_not_made(
    quick: World, fields: dict[str, Any]
) -> None:
    product = quick.client.v1.products.create({"name": "Speech"}).id
    params: Any = {"product": product, "currency": "eur", "unit_amount": 1}
    taken: Any = {**params, "lookup_key": "taken"}
    quick.client.v1.prices.create(taken)
    params |= fields
    with pytest.raises(stripe.InvalidRequestError):
        quick.client.v1.prices.create(params)
    assert len(quick.client.v1.prices.list().data) == 1


def test_a_tiered_price_may_bring_its_product(quick: World) -> None:
    params: Any = {
        "currency": "eur",
        "product_data": {"name": "Speech"},
        "billing_scheme": "tiered",
        "tiers_mode": "graduated",
        "tiers": [{"up_to": 100, "unit_amount": 2}, {"up_to": "inf", "unit_amount_decimal": "1.5"}],
    }
    price = quick.client.v1.prices.create(params)
    assert price.tiers is not None
    assert [tier.up_to for tier in price.tiers] == [100, None]
    assert str(price.product) == quick.client.v1.products.list().data[0].id


def test_a_lookup_key_can_be_taken_over(quick: World) -> None:
    params: Any = {
        "currency": "eur",
        "unit_amount": 1,
        "product_data": {"name": "Speech"},
        "lookup_key": "k",
    }
    first = quick.client.v1.prices.create(params)
    params["transfer_lookup_key"] = True
    quick.client.v1.prices.create(params)
    assert quick.client.v1.prices.retrieve(first.id).lookup_key is None


def test_a_product_id_is_taken_once(quick: World) -> None:
    quick.client.v1.products.create({"name": "Speech", "id": "mine"})
    with pytest.raises(stripe.InvalidRequestError) as caught:
        quick.client.v1.products.create({"name": "Speech", "id": "mine"})
    assert caught.value.code == "resource_already_exists"


def test_an_unknown_path_is_404_and_an_unknown_parameter_400(quick: World) -> None:
    with pytest.raises(stripe.InvalidRequestError) as caught:
        quick.client.v1.subscriptions.list()
    assert caught.value.http_status == 404
    odd: Any = {"colour": "red"}
    for ask in (quick.client.v1.customers.list, quick.client.v1.prices.list):
        with pytest.raises(stripe.InvalidRequestError) as caught:
            ask(odd)
        assert caught.value.param == "colour"
