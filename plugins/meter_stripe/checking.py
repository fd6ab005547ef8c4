"""`meter check --connect`: does the key open what the sink needs? Reads only, and little."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from meter.errors import FatalSinkError, SinkError
from meter_stripe.customers import customers_for
from meter_stripe.ledger import Ledger, meter_ids
from meter_stripe.options import BASE_URL
from meter_stripe.printing import counted

if TYPE_CHECKING:
    from meter_stripe.options import StripeOptions
    from meter_stripe.sink import StripeSink

__all__ = ["check", "key_words"]

ODD: Final = 5
"""How many unusual ids are named."""


def key_words(options: StripeOptions) -> str:
    """Say which mode and kind of key the sink has, and where it is used; never the key."""
    if options.mode is None:
        return "no usable key"
    restricted = options.api_key.get_secret_value().startswith("rk_")
    kind = "a restricted key" if restricted else "a secret key, which may do everything"
    where = "" if options.base_url == BASE_URL else f", at {options.base_url}"
    money = "live mode: real money" if options.mode == "live" else "test mode: no money"
    return f"{money}, {kind}{where}"


def check(sink: StripeSink) -> list[str]:
    """Try the key, the meters and the customers, and say what was found.

    Raises:
        SinkError: everything that is wrong, and what to do.
    """
    options = sink.options
    lines, faults = [key_words(options), *_mixes(sink)], []
    try:
        for name, words, fault in _meters(sink):
            if fault is None:
                lines.append(f"meter {name}: {words}")
            else:
                faults.append(f"meter {name}: {fault}")
        try:
            lines.append(_customers(sink))
        except SinkError as error:
            faults.append(str(error))
    finally:
        sink.close()
    if options.webhook_secret is None:
        lines.append("error reports are off: `meter stripe setup` says how to switch them on")
    else:
        lines.append(f"error reports are taken at {options.webhook_path}")
    if faults:
        first, *others = faults
        raise FatalSinkError("\n".join([f"{key_words(options)}; {first}", *others]))
    return lines


def _mixes(sink: StripeSink) -> list[str]:
    """Say where modes and addresses do not go together."""
    options, state = sink.options, sink.context.state
    local = urlsplit(options.base_url).hostname in ("localhost", "127.0.0.1", "::1")
    lines = []
    if options.mode == "live" and local:
        lines.append(
            "warning: a live key is sent to a program on this machine: give a double a test key"
        )
    elif options.base_url != BASE_URL and not local:
        lines.append(f"warning: the key is sent to {options.base_url}, which is not Stripe")
    for name, meter_id in meter_ids(state).items():
        record = Ledger(state, meter_id).record()
        if record is not None and options.mode not in (None, record.mode):
            lines.append(
                f"warning: {name} was billed in {record.mode} mode until now, and the key is for "
                f"{options.mode} mode: what is delivered already is not billed there"
            )
    return lines


def _meters(sink: StripeSink) -> list[tuple[str, str, str | None]]:
    """Return name, state and fault of each wanted meter.

    Raises:
        SinkError: the key is refused, or Stripe does not answer.
    """
    from meter_stripe.api_errors import StripeRefused
    from meter_stripe.meters import find_meters, unfit

    try:
        found = find_meters(sink.api(), sink.options)
    except StripeRefused as error:
        raise SinkError(str(error)) from error
    rows: list[tuple[str, str, str | None]] = []
    for wanted in sink.options.meters:
        info = found.get(wanted.event_name)
        makes = info is None and sink.options.create_missing
        fault = None if makes else unfit(info)
        words = (
            "missing; `meter run` makes it"
            if info is None
            else f"active, sums up, in units of one {wanted.unit} ({info.id})"
        )
        rows.append((wanted.event_name, words, fault))
    return rows


def _customers(sink: StripeSink) -> str:
    source = sink.options.customers
    if source == "passthrough":
        return "customers: each customer_id is taken for Stripe's own id"
    customers = customers_for(sink.options, sink.api)
    customers.refresh(sink.context.clock.now())
    count = 0
    odd: list[str] = []
    for _, stripe_id in customers.pairs():
        count += 1
        if not stripe_id.startswith("cus_") and len(odd) < ODD:
            odd.append(stripe_id)
    where = (
        source.file.name
        if source.file is not None
        else f"the metadata key {source.metadata!r} of Stripe's customers"
    )
    line = f"customers: {counted(count, 'customer')} by {where}"
    if odd:
        line += f"; warning: Stripe's own ids begin with cus_, and there is {', '.join(odd)}"
    return line
