"""`meter sandbox`: local doubles of AssemblyAI's and Stripe's APIs, for trying things out."""

from __future__ import annotations

import click

__all__ = ["sandbox"]

_SHARE = click.FloatRange(0, 1)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=8788, show_default=True, help="Port to listen on; 0 takes a free one."
)
@click.option(
    "--streaming-port",
    default=8789,
    show_default=True,
    help="Port of the streaming API's double; 0 takes a free one.",
)
@click.option(
    "--stripe-port",
    default=8790,
    show_default=True,
    help="Port of the Stripe double; 0 takes a free one.",
)
@click.option(
    "--key",
    "keys",
    multiple=True,
    help="An accepted AssemblyAI API key; repeatable. Default: any.",
)
@click.option("--latency", default=1.0, show_default=True, help="Seconds until a job is done.")
@click.option(
    "--failed", type=_SHARE, default=0.0, show_default=True, help="Share of failing jobs."
)
@click.option("--twice", type=_SHARE, default=0.0, show_default=True, help="Share delivered twice.")
@click.option("--lost", type=_SHARE, default=0.0, show_default=True, help="Share never delivered.")
@click.option(
    "--errors", type=_SHARE, default=0.0, show_default=True, help="Share of GETs answered 5xx."
)
@click.option("--limited", type=_SHARE, default=0.0, show_default=True, help="Share answered 429.")
@click.option(
    "--seed",
    type=int,
    help="Makes ids and faults repeat; mind that a journal knows ids that repeat. Default: random.",
)
def sandbox(  # noqa: PLR0913  one parameter an option
    *,
    host: str,
    port: int,
    streaming_port: int,
    stripe_port: int,
    keys: tuple[str, ...],
    latency: float,
    failed: float,
    twice: float,
    lost: float,
    errors: float,
    limited: float,
    seed: int | None,
) -> None:
    """Serve doubles of AssemblyAI's REST and streaming APIs and of Stripe's until interrupted.

    They submit, list, answer and delete transcripts, deliver webhooks with AssemblyAI's retry
    rules, stream sessions, and count meter events; nothing is transcribed, nothing is billed and
    nothing leaves this machine.
    """
    import secrets

    from meter.sandbox.faults import Faults
    from meter.sandbox.serve import serve

    faults = Faults(
        failed_jobs=failed,
        webhook_twice=twice,
        webhook_lost=lost,
        get_server_error=errors,
        get_rate_limited=limited,
    )
    try:
        serve(
            host=host,
            port=port,
            streaming_port=streaming_port,
            stripe_port=stripe_port,
            keys=keys,
            faults=faults,
            latency=latency,
            seed=secrets.randbelow(2**31) if seed is None else seed,
            announce=click.echo,
        )
    except OSError as error:
        raise click.UsageError(
            f"cannot listen on {host}:{port}, {streaming_port} and {stripe_port}: "
            f"{error.strerror or error}"
        ) from None
