"""Setup: what Stripe has and lacks for each meter of a sink, and the making of what is missing.

Everything is looked for before it is made, and every call that makes something has a key that is
derived from its content. So it may run twice, or be interrupted anywhere and go on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeVar

from meter.errors import ConfigurationError, FatalSinkError, RetryableSinkError, SinkError
from meter_stripe.meters import find_meters
from meter_stripe.prices import Price, currency_of, read_price
from meter_stripe.printing import number

if TYPE_CHECKING:
    from meter_stripe.client import MeterInfo, PriceInfo, ProductInfo, StripeApi
    from meter_stripe.options import MeterOptions, StripeOptions

__all__ = ["Found", "Step", "carry_out", "prices_asked", "steps_for", "survey"]

T = TypeVar("T")
TRIES: Final = 3
LABEL: Final = "meter_event_name"
"""The metadata key by which setup finds its own products again."""


@dataclass(frozen=True, slots=True)
class Found:
    """What Stripe has for one meter of the sink.

    Attributes:
        wanted: the meter in the pipelines file.
        info: Stripe's; None when there is none.
        product: that its price belongs to, or that setup made for it.
        prices: the active ones that bill by this meter.
        unread: why products and prices could not be read, when the key may not.
    """

    wanted: MeterOptions
    info: MeterInfo | None
    product: ProductInfo | None = None
    prices: tuple[PriceInfo, ...] = ()
    unread: str | None = None

    @property
    def state(self) -> str:
        """The meter's state in a few words."""
        if self.info is None:
            return "missing"
        words = "active" if self.info.active else "deactivated"
        return f"{words}, {'sums up' if self.info.formula == 'sum' else self.info.formula}"

    @property
    def hopeless(self) -> str | None:
        """What setup cannot put right."""
        if self.info is None or self.info.formula == "sum":
            return None
        return (
            f"{self.wanted.event_name}: Stripe's meter aggregates by {self.info.formula}, and that "
            "cannot be changed; take another event_name, for a meter that sums up"
        )


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that `--apply` makes, in words."""

    what: Literal["meter", "reactivate", "product", "price"]
    event_name: str
    words: str


def prices_asked(
    options: StripeOptions, given: Mapping[str, str], currency: str | None
) -> dict[str, Price]:
    """Read the prices of a command line, by event name.

    Raises:
        ConfigurationError: one is for no meter of the sink, is no amount, or has no currency.
    """
    if not given:
        return {}
    if currency is None:
        raise ConfigurationError("--price needs --currency, such as --currency usd")
    units = {meter.event_name: meter.unit for meter in options.meters}
    if unknown := sorted(given.keys() - units.keys()):
        raise ConfigurationError(
            f"--price {unknown[0]}=…: the sink has no such meter; it has {', '.join(units)}"
        )
    known = currency_of(currency)
    return {
        name: read_price(text, unit=units[name], currency=known) for name, text in given.items()
    }


def survey(api: StripeApi, options: StripeOptions) -> list[Found]:
    """Look at what Stripe has, in the file's order. Only reads.

    Raises:
        SinkError: the meters cannot be read.
    """
    infos = find_meters(api, options)
    found = []
    products: dict[str, ProductInfo] | None = None
    for wanted in options.meters:
        info = infos.get(wanted.event_name)
        try:
            if products is None:
                products = {product.id: product for product in api.products()}
            prices = () if info is None else _prices_of(api, info)
        except FatalSinkError as refused:
            found.append(Found(wanted, info, unread=str(refused)))
            continue
        product = next((products[p.product] for p in prices if p.product in products), None)
        found.append(Found(wanted, info, product or _ours(products, wanted.event_name), prices))
    return found


def _prices_of(api: StripeApi, info: MeterInfo) -> tuple[PriceInfo, ...]:
    rows = api.prices(meter_id=info.id)
    return tuple(row for row in rows if row.active and row.meter_id == info.id)


def _ours(products: Mapping[str, ProductInfo], event_name: str) -> ProductInfo | None:
    ours = [p for p in products.values() if p.active and p.metadata.get(LABEL) == event_name]
    return min(ours, key=lambda product: product.id, default=None)


def has_price(found: Found, price: Price) -> bool:
    """Tell whether Stripe has this very price for the meter."""
    return any(
        (each.currency, each.unit_amount, each.interval)
        == (price.currency, price.unit_amount, "month")
        for each in found.prices
    )


def other_price(found: Found, price: Price) -> PriceInfo | None:
    """Return an active monthly price of another amount in the same currency."""
    if has_price(found, price):
        return None
    return next(
        (p for p in found.prices if (p.currency, p.interval) == (price.currency, "month")), None
    )


def steps_for(
    found: list[Found], prices: Mapping[str, Price], *, reactivate: bool
) -> Iterator[Step]:
    """Say what is to be made, in order. A price is made only where none of its currency is."""
    for each in found:
        name = each.wanted.event_name
        if each.info is None:
            yield Step("meter", name, f"make the meter {name}: it sums up what it is sent")
        elif not each.info.active and reactivate:
            yield Step("reactivate", name, f"reactivate the meter {name} ({each.info.id})")
        price = prices.get(name)
        if (
            price is None
            or each.hopeless
            or has_price(each, price)
            or other_price(each, price) is not None
        ):
            continue
        if each.product is None:
            yield Step(
                "product",
                name,
                f"make the product {name}: its name stands on invoices, and can be changed in "
                "Stripe's Dashboard",
            )
        yield Step(
            "price",
            name,
            f"make a price for {name}: {price}, billed monthly (Stripe stores it as "
            f"unit_amount_decimal {number(price.unit_amount)})",
        )


def carry_out(
    api: StripeApi, options: StripeOptions, prices: Mapping[str, Price], *, reactivate: bool
) -> Iterator[str]:
    """Make what is missing, one thing after the other, and say what was made.

    Raises:
        SinkError: Stripe does not let it; what was made until then stays, and is found next time.
    """
    for step in steps_for(survey(api, options), prices, reactivate=reactivate):
        yield _done(api, options, step, prices)


def _done(api: StripeApi, options: StripeOptions, step: Step, prices: Mapping[str, Price]) -> str:
    """Do one step, on what Stripe has by now."""
    name = step.event_name

    def now() -> Found:
        return next(f for f in survey(api, options) if f.wanted.event_name == name)

    if step.what == "meter":
        info = _made(
            lambda key: api.create_meter(event_name=name, display_name=name, idempotency_key=key),
            lambda: find_meters(api, options).get(name),
            ("meter", name),
        )
        return f"made the meter {name}: {info.id}"
    if step.what == "reactivate":
        found = now()
        if found.info is not None and not found.info.active:
            api.reactivate_meter(found.info.id)
        return f"reactivated the meter {name}"
    if step.what == "product":
        product = _made(
            lambda key: api.create_product(name=name, metadata={LABEL: name}, idempotency_key=key),
            lambda: _ours({product.id: product for product in api.products()}, name),
            ("product", name),
        )
        return f"made the product {name}: {product.id}"
    return _price_made(api, now(), prices[name], now)


def _price_made(api: StripeApi, found: Found, price: Price, again: Callable[[], Found]) -> str:
    if found.info is None or found.product is None:
        raise SinkError(f"{found.wanted.event_name}: its meter or product is gone; run it again")
    meter_id, product = found.info.id, found.product.id

    def there() -> PriceInfo | None:
        looked = again()
        return next((p for p in looked.prices if p.unit_amount == price.unit_amount), None)

    made = _made(
        lambda key: api.create_price(
            product=product,
            meter_id=meter_id,
            currency=price.currency,
            unit_amount_decimal=number(price.unit_amount),
            idempotency_key=key,
        ),
        there,
        ("price", product, meter_id, price.currency, number(price.unit_amount), "month"),
    )
    return f"made the price {made.id}: {price}"


def _made(make: Callable[[str], T], look: Callable[[], T | None], content: tuple[str, ...]) -> T:
    """Make one thing, once: the same content has the same key within Stripe's day.

    Stripe repeats a stored answer under its key, a 500 too. So after a failure it is looked for,
    and only if it is not there the next key is tried.

    Raises:
        SinkError: it could not be made; it is looked for first the next time.
    """
    digest = hashlib.blake2b("\0".join(content).encode(), digest_size=12).hexdigest()
    for attempt in range(TRIES):
        try:
            return make(f"meter-setup-{digest}-{attempt}")
        except RetryableSinkError:
            there = look()
            if there is not None:
                return there
            if attempt == TRIES - 1:
                raise
    raise AssertionError("unreachable: the last try returns or raises")
