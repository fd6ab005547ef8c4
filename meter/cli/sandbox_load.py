"""What simulated customers ask of a pipelines file: jobs for webhooks, sessions for the relay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from meter.errors import ConfigurationError

if TYPE_CHECKING:
    from meter.config import Config

__all__ = ["Load"]

TOKEN_TTL: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Load:
    """How much is asked of which collectors.

    Attributes:
        jobs: how many are submitted; 0 where the file has no `webhook` collector.
        streams: how many sessions are streamed; 0 where it has no `streaming` collector.
        webhook: that collector's options.
        streaming: that collector's name and options.
    """

    jobs: int
    streams: int
    webhook: Any
    streaming: tuple[str, Any] | None

    @classmethod
    def for_config(cls, config: Config, *, jobs: int, streams: int) -> Load:
        """Find the first collector of each type.

        Raises:
            ConfigurationError: the file has neither.
        """
        first: dict[str, tuple[str, Any]] = {}
        for name, entry in config.collectors.items():
            first.setdefault(entry.type, (name, entry.options))
        if "webhook" not in first and "streaming" not in first:
            raise ConfigurationError(
                f"{config.path}: --sandbox needs a collector of type webhook or streaming to send "
                "customers to, and there is none"
            )
        return cls(
            jobs=jobs if "webhook" in first else 0,
            streams=streams if "streaming" in first else 0,
            webhook=first["webhook"][1] if "webhook" in first else None,
            streaming=first.get("streaming"),
        )

    def submit(
        self, address: str, base_url: str, *, seed: int, on_progress: Callable[[int, int], None]
    ) -> None:
        """Submit the jobs to the double, with webhooks that come to `address`."""
        from meter.sandbox.customers import submit_jobs

        submit_jobs(
            base_url=base_url,
            api_key=self.webhook.api_key.get_secret_value(),
            webhook_url=address + self.webhook.path,
            secret_header=self.webhook.header,
            secret=self.webhook.secret.get_secret_value(),
            jobs=self.jobs,
            seed=seed,
            on_progress=on_progress,
        )

    def stream(self, address: str, *, seed: int, on_progress: Callable[[int, int], None]) -> None:
        """Stream the sessions through the relay at `address`.

        Raises:
            ConfigurationError: the SDKs connect to /v3/ws, and the collector is elsewhere.
        """
        from meter.collectors.relay.tokens import Grant, make_token
        from meter.sandbox.stream_customers import stream_sessions

        if self.streaming is None:
            return
        name, options = self.streaming
        if not options.path.endswith("/v3/ws"):
            raise ConfigurationError(
                f"collectors.{name}.path: the SDKs connect to a path that ends in /v3/ws"
            )
        secret = options.token_secret.get_secret_value()

        def token_for(customer_id: str, project_id: str) -> str:
            grant = Grant(customer_id, {"project_id": project_id}, single_use=True)
            return make_token(secret, name, grant, issued_at=datetime.now(UTC), ttl=TOKEN_TTL)

        stream_sessions(
            url=address.replace("http://", "ws://") + options.path.removesuffix("/v3/ws"),
            token_for=token_for,
            sessions=self.streams,
            seed=seed,
            on_progress=on_progress,
        )
