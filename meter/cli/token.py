"""`meter token`: a token with which one customer's client opens streaming sessions."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meter.commands.arguments import UNSET, pipelines_file, read_config

if TYPE_CHECKING:
    from meter.config import Config
    from meter.plugins import Plugins

__all__ = ["token"]


class _Duration(click.ParamType[timedelta]):
    """`30s`, `15m`, `1h`: as in a pipelines file."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        from meter.sinks.options import read_duration

        try:
            read = read_duration(value)
        except ValueError as error:
            self.fail(f"expected {error}", param, ctx)
        return read if isinstance(read, timedelta) else self.fail("no duration", param, ctx)


@click.command()
@pipelines_file
@click.option("--customer", required=True, help="Whose session it will be; taken as given.")
@click.option(
    "--dimension",
    "dimensions",
    multiple=True,
    metavar="NAME=VALUE",
    help="Goes into the session's events; repeatable.",
)
@click.option(
    "--ttl",
    type=_Duration(),
    default="60s",
    show_default=True,
    help="How long the token may be used to connect; an open session goes on.",
)
@click.option("--max-session", type=_Duration(), help="The longest that its session may last.")
@click.option("--single-use", is_flag=True, help="It opens one session only.")
@click.option("--collector", help="Which streaming collector it is for, when there are several.")
@click.pass_obj
def token(  # noqa: PLR0913  because each option is a parameter
    plugins: Plugins,
    pipelines: Path,
    *,
    customer: str,
    dimensions: tuple[str, ...],
    ttl: timedelta,
    max_session: timedelta | None,
    single_use: bool,
    collector: str | None,
) -> None:
    """Print a token for the relay of PIPELINES, and nothing else.

    It needs no running meter: the token is signed with the collector's token_secret.
    """
    from meter.clock import SystemClock
    from meter.collectors.relay.tokens import Grant, make_token

    config = read_config(pipelines, plugins, looking=True)
    name = _collector(config, collector)
    grant = Grant(customer, _pairs(dimensions), max_session, single_use=single_use)
    secret = config.collectors[name].options.token_secret.get_secret_value()
    if secret.startswith(UNSET):
        raise click.UsageError(f"collectors.{name}.token_secret: {secret.strip()}")
    click.echo(make_token(secret, name, grant, issued_at=SystemClock().now(), ttl=ttl))


def _collector(config: Config, wanted: str | None) -> str:
    names = [name for name, entry in config.collectors.items() if entry.type == "streaming"]
    if not names:
        raise click.UsageError(f"{config.path} has no collector of type streaming")
    if wanted is None and len(names) == 1:
        return names[0]
    if wanted in names:
        return str(wanted)
    raise click.UsageError(f"--collector: expected one of {', '.join(names)}")


def _pairs(texts: tuple[str, ...]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.UsageError(f"--dimension: expected NAME=VALUE, got {text!r}")
        if name in pairs:
            raise click.UsageError(f"--dimension: {name} is given twice")
        pairs[name] = value
    return pairs
