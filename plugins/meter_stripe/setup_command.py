"""`meter stripe setup`: what Stripe has and lacks, in words; needs no journal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meter.commands import read_config, table
from meter.commands.arguments import naming
from meter.errors import ConfigurationError
from meter_stripe.checking import key_words
from meter_stripe.options import StripeOptions
from meter_stripe.permissions import permissions_for
from meter_stripe.prices import BadPrice, smallest
from meter_stripe.printing import number
from meter_stripe.setup import carry_out, other_price, prices_asked, steps_for, survey

if TYPE_CHECKING:
    from meter_stripe.client import PriceInfo
    from meter_stripe.prices import Price
    from meter_stripe.setup import Found

__all__ = ["set_up"]


def set_up(
    plugins: Any,
    pipelines: Path,
    *,
    name: str | None,
    apply: bool,
    reactivate: bool,
    currency: str | None,
    prices: Mapping[str, str],
) -> int:
    """Show, or make; return the exit code: 1 when something is left that setup cannot put right.

    Raises:
        MeterError: the file, the prices or the key cannot be used, or Stripe cannot be reached.
    """
    from meter_stripe.client import StripeApi

    name, options = _options(plugins, pipelines, name)
    wanted = _prices(options, prices, currency)
    api = StripeApi(options)
    try:
        click.echo(f"setup of the sink {name}: {key_words(options)}\n")
        found = survey(api, options)
        _show(found)
        steps = list(steps_for(found, wanted, reactivate=reactivate))
        if apply and steps:
            click.echo("\nmaking what is missing:")
            for made in carry_out(api, options, wanted, reactivate=reactivate):
                click.echo(f"  {made}")
            found = survey(api, options)
            click.echo()
            _show(found)
        elif steps:
            click.echo("\nwith --apply it would")
            for place, step in enumerate(steps, 1):
                click.echo(f"  {place}. {step.words}")
            click.echo("nothing was made now")
        else:
            click.echo("\nnothing is to be made")
        left = _left(found, wanted, reactivate=reactivate)
        for line in left:
            click.echo(f"\nnot put right: {line}")
        _next_steps(found, options, naming(pipelines), wanted)
        return 1 if left else 0
    finally:
        api.close()


def _prices(
    options: StripeOptions, given: Mapping[str, str], currency: str | None
) -> dict[str, Price]:
    """Read the prices of the command line, one at a time: what is wrong names its meter."""
    found: dict[str, Price] = {}
    for meter, text in given.items():
        try:
            found |= prices_asked(options, {meter: text}, currency)
        except BadPrice as error:
            raise ConfigurationError(f"--price {meter}={text}: {error}") from error
    return found


def _options(plugins: Any, pipelines: Path, name: str | None) -> tuple[str, StripeOptions]:
    """Choose the sink. Setup comes before the first run, so that there may be no journal yet."""
    config = read_config(pipelines, plugins)
    found = {n: entry for n, entry in config.sinks.items() if entry.type == "stripe"}
    if name is None and len(found) == 1:
        name = next(iter(found))
    if name in found:
        options = found[name].options
        if isinstance(options, StripeOptions):
            return name, options
    known = ", ".join(sorted(found)) or "none"
    words = f"no sink {name!r} of type stripe there" if name else "expected one sink: use --sink"
    raise ConfigurationError(f"{pipelines}: {words}; of type stripe: {known}")


def _show(found: list[Found]) -> None:
    rows = [
        (
            each.wanted.event_name,
            each.wanted.unit,
            each.state,
            "" if each.info is None else each.info.id,
            "unknown" if each.unread else "none" if each.product is None else each.product.name,
            "unknown"
            if each.unread
            else "; ".join(_price_words(each, price) for price in each.prices) or "none",
        )
        for each in found
    ]
    click.echo(table(("meter", "unit", "at Stripe", "id", "product", "price"), rows))
    for words in {each.unread for each in found if each.unread}:
        click.echo(f"products and prices: {words}")


def _price_words(found: Found, price: PriceInfo) -> str:
    if price.unit_amount is None:
        return f"tiers in {price.currency.upper()} ({price.id})"
    amount = number(price.unit_amount / smallest(price.currency))
    per = found.wanted.unit
    return f"{amount} {price.currency.upper()} per {per}, every {price.interval} ({price.id})"


def _left(found: list[Found], prices: Mapping[str, Price], *, reactivate: bool) -> list[str]:
    """Say what is wrong and stays so."""
    lines = [words for words in (each.hopeless for each in found) if words]
    lines += [
        f"{each.wanted.event_name}: Stripe's meter is deactivated and refuses usage: --reactivate "
        "--apply lets it take usage again"
        for each in found
        if each.info is not None and not each.info.active and not reactivate
    ]
    for each in found:
        price = prices.get(each.wanted.event_name)
        other = None if price is None else other_price(each, price)
        if price is not None and other is not None:
            lines.append(
                f"{each.wanted.event_name}: you ask for {price}, and there is a price already: "
                f"{_price_words(each, other)}. Stripe's prices do not change, and two of them "
                "would leave open which one bills: archive that one in the Dashboard first"
            )
    return lines


def _next_steps(
    found: list[Found], options: StripeOptions, file: str, prices: Mapping[str, Price]
) -> None:
    """Say what only a person can do."""
    unpriced = [f.wanted for f in found if not f.prices and f.wanted.event_name not in prices]
    if unpriced and not any(each.unread for each in found):
        example = f"--price {unpriced[0].event_name}=0.36/hour"
        click.echo(
            "\nwithout a price nothing is invoiced: make one in the Dashboard, or "
            f"`meter stripe setup{file} --apply --currency usd {example}`\n"
            f"  (0.36/hour is 0.36 dollars for an hour of usage; without /hour it is for one "
            f"{unpriced[0].unit})"
        )
    reports = "is set" if options.webhook_secret is not None else "is not set: no error reports"
    click.echo(
        "\nerror reports (what Stripe took, and does not count): in the Dashboard, Workbench, Event"
        " destinations, add a webhook endpoint\n"
        f"  address   https://YOUR-HOST{options.webhook_path}\n"
        "  events    v1.billing.meter.error_report_triggered, v1.billing.meter.no_meter_found\n"
        "  payload   thin\n"
        f"  then put its signing secret into webhook_secret, which {reports}"
    )
    click.echo("\na restricted key (rk_…) needs these permissions, and no more:")
    rows = [(p.resource, p.level, p.needed, p.when, p.name) for p in permissions_for(options)]
    header = ("resource", "level", "for", "when", "in Stripe's refusals")
    click.echo("\n".join(f"  {line}" for line in table(header, rows).splitlines()))
    click.echo("a subscription to the price, for each customer, is made where you sell")
