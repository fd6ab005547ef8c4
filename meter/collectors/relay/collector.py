"""The collector `streaming`: its options, and what the server mounts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field, field_validator

from meter.collectors.interface import Collector
from meter.collectors.relay.tokens import LEAST_SECRET, Grant, make_token
from meter.http import SocketRoute
from meter.sinks import Duration, Options, Secret
from meter.sinks.options import none_if_empty
from meter.streaming import LONGEST_SESSION

if TYPE_CHECKING:
    from meter.collectors.interface import CollectorContext
    from meter.collectors.relay.relay import Relay

__all__ = ["StreamingCollector", "StreamingOptions"]


class StreamingOptions(Options):
    """Options of `type: streaming`."""

    api_key: Annotated[
        Secret, Field(description="The AssemblyAI key that sessions run under; it never leaves.")
    ]
    token_secret: Annotated[
        Secret,
        Field(description="Signs the tokens that clients connect with; at least 32 characters."),
    ]
    previous_token_secret: Annotated[
        Secret | None,
        AfterValidator(none_if_empty),
        Field(
            description="What `token_secret` was before: tokens that it signed are taken as well, "
            "while it is being rotated. Empty is none."
        ),
    ] = None
    path: Annotated[
        str,
        Field(
            description="Where clients connect; the SDKs append /v3/ws themselves.",
            pattern="^/[^?#]*$",
        ),
    ] = "/v3/ws"
    upstream: Annotated[
        str,
        Field(
            description="AssemblyAI's streaming host, without a path; "
            "wss://streaming.eu.assemblyai.com for the EU.",
            pattern=r"^wss?://[^/?#\s]+/?$",
        ),
    ] = "wss://streaming.assemblyai.com"
    max_sessions: Annotated[
        int, Field(ge=1, description="Sessions open at once; beyond it a client gets code 3009.")
    ] = 1000
    max_sessions_per_customer: Annotated[
        int | None, Field(ge=1, description="The same for each customer; no limit by default.")
    ] = None
    max_session: Annotated[
        Duration, Field(description="The longest session; meter then ends it with code 3008.")
    ] = LONGEST_SESSION
    idle_timeout: Annotated[
        Duration | None,
        Field(
            description="A client that sends nothing for so long is ended with code 3008: the "
            "open socket is what is billed. `null` never ends one."
        ),
    ] = timedelta(minutes=10)
    termination_timeout: Annotated[
        Duration,
        Field(description="How long AssemblyAI's Termination is waited for, once asked for."),
    ] = timedelta(seconds=10)
    max_frame: Annotated[
        int,
        Field(
            ge=65_536,
            le=16_777_216,
            description="The longest frame of a client, bytes; beyond it code 3007.",
        ),
    ] = 1_048_576

    @field_validator("api_key")
    @classmethod
    def _given(cls, secret: Secret) -> Secret:
        if not secret.get_secret_value():
            raise ValueError("not empty")
        return secret

    @field_validator("token_secret", "previous_token_secret")
    @classmethod
    def _long_enough(cls, secret: Secret | None) -> Secret | None:
        if secret is not None and len(secret.get_secret_value()) < LEAST_SECRET:
            raise ValueError(
                f"at least {LEAST_SECRET} characters; `openssl rand -hex 32` makes a good one"
            )
        return secret

    @field_validator("max_session", "idle_timeout", "termination_timeout")
    @classmethod
    def _some_time(cls, value: timedelta | None) -> timedelta | None:
        if value is not None and value < timedelta(seconds=1):
            raise ValueError("at least 1s")
        return value

    @field_validator("max_session")
    @classmethod
    def _within_the_providers(cls, value: timedelta) -> timedelta:
        if value > LONGEST_SESSION:
            raise ValueError("at most 3h, which is AssemblyAI's own limit")
        return value

    def token_secrets(self) -> tuple[str, ...]:
        """Return what tokens may be signed with: the secret, then the previous one if it is set."""
        both = (self.token_secret, self.previous_token_secret)
        return tuple(secret.get_secret_value() for secret in both if secret is not None)


class StreamingCollector(Collector):
    """Relays streaming sessions for one key on one host."""

    type = "streaming"
    Options = StreamingOptions
    options: StreamingOptions

    def __init__(self, options: StreamingOptions, context: CollectorContext) -> None:
        """Prepare the relay."""
        super().__init__(options, context)
        from meter.collectors.relay.relay import Relay

        self._relay: Relay = Relay(options, context)

    @classmethod
    def sandboxed(cls, options: StreamingOptions, doubles: Mapping[str, str]) -> Any:
        """Talk to the local double of AssemblyAI's streaming API."""
        return options.model_copy(update={"upstream": doubles["assemblyai_streaming"]})

    @classmethod
    def paths(cls, options: StreamingOptions) -> Sequence[str]:
        """Return the one path that clients connect to."""
        return (options.path,)

    def sockets(self) -> Sequence[SocketRoute]:
        """Mount the one path that clients connect to."""
        return (SocketRoute(self.options.path, self._relay.connect),)

    @property
    def relay(self) -> Relay:
        """What does the work, and counts it."""
        return self._relay

    def token(self, grant: Grant, ttl: timedelta) -> str:
        """Sign a token for this collector."""
        return make_token(
            self.options.token_secret.get_secret_value(),
            self.context.name,
            grant,
            issued_at=self.context.clock.now(),
            ttl=ttl,
        )

    def check(self) -> Sequence[str]:
        """Ask AssemblyAI whether the key may open sessions; opens none.

        Raises:
            CollectorError: it may not, or there is no answer.
        """
        from meter.collectors.checking import may_open_sessions

        return (may_open_sessions(self.options.api_key, self.options.upstream),)

    async def run(self, *, once: bool) -> None:
        """Close the books of an earlier process; then relay until cancelled."""
        await self._relay.settle_leftovers()
        if not once:
            await self._relay.run()
