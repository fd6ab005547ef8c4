"""The doubles as a program of their own: `meter sandbox`."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from meter.sandbox.double import AssemblyAISandbox
from meter.sandbox.faults import Faults
from meter.sandbox.streaming import StreamingSandbox
from meter.sandbox.stripe_rules import StripeRules
from meter.sandbox.stripe_sandbox import StripeSandbox

SAMPLE_KEY = "sandbox"
KEPT_REQUESTS = 1000
"""So that it can run for days."""


def serve(  # noqa: PLR0913 - the settings of one run, keyword-only
    *,
    host: str,
    port: int,
    streaming_port: int,
    stripe_port: int,
    keys: tuple[str, ...],
    faults: Faults,
    latency: float,
    seed: int,
    announce: Callable[[str], None],
) -> None:
    """Run the doubles until SIGINT or SIGTERM, then stop them cleanly and return.

    Call it in the main thread. `latency` is the mean in seconds from submission to the final
    status; `keys` are AssemblyAI's. `announce` is given AssemblyAI's base URL first, then lines of
    Python that point the SDKs at the doubles, each in a call of its own and all once requests are
    answered. Stripe's double takes any key of the right shape, and any customer.

    Raises:
        OSError: An address is in use or not ours.
    """
    with (
        _termination() as terminated,
        AssemblyAISandbox(
            host=host, port=port, keys=keys, faults=faults, latency=latency, seed=seed
        ) as double,
        StreamingSandbox(host=host, port=streaming_port, keys=keys, seed=seed) as streaming,
        StripeSandbox(
            host=host,
            port=stripe_port,
            seed=seed,
            rules=StripeRules(unknown_customers="accepted"),
            keep_requests=KEPT_REQUESTS,
        ) as stripe,
    ):
        key = keys[0] if keys else SAMPLE_KEY
        announce(double.base_url)
        announce("import assemblyai as aai")
        announce(f'aai.settings.base_url, aai.settings.api_key = "{double.base_url}", "{key}"')
        announce("from assemblyai.streaming.v3 import StreamingClientOptions")
        announce(f'StreamingClientOptions(api_host="{streaming.url}", api_key="{key}")')
        announce("from stripe import StripeClient")
        announce(
            f'StripeClient("sk_test_sandbox", base_addresses={{"api": "{stripe.base_url}", '
            f'"meter_events": "{stripe.base_url}"}})'
        )
        terminated.wait()


@contextmanager
def _termination() -> Iterator[threading.Event]:
    """Give an event that the first SIGINT or SIGTERM sets; the handlers before it come back."""
    terminated = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        terminated.set()

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, on_signal) for number in numbers}
    try:
        yield terminated
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
