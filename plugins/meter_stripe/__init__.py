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
    from meter_stripe.commands import stripe

    cli.add_command(stripe)
