"""The `stripe` sink, shipped with meter and found like any other plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meter import hookimpl

if TYPE_CHECKING:
    import click

    from meter.sinks import Sink


@hookimpl
def meter_register_sinks() -> list[type[Sink]]:
    """Register the sink type `stripe`."""
    from meter_stripe.sink import StripeSink

    return [StripeSink]


@hookimpl
def meter_register_commands(cli: click.Group) -> None:
    """Add the commands `meter stripe …`."""
    from meter.commands import LazyCommand

    summary = "Set up, preview, prove and correct what is billed through Stripe."
    cli.add_command(LazyCommand("stripe", "meter_stripe.commands:stripe", summary))
