"""What simulated customers ask of a pipelines file: jobs for webhooks, sessions for streaming."""

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
CONNECT_SECONDS: Final = 10


@dataclass(frozen=True, slots=True)
class Load:
    """How much is asked of which collectors.

    Attributes:
        jobs: how many are submitted; 0 where the file has no `webhook` collector.
        streams: how many sessions are streamed; 0 where it has no `streaming` collector and no
            `ingest` collector.
        webhook: that collector's options.
        streaming: that collector's name and options: sessions go through its relay.
        ingest: that collector's options: without a relay, a tap tells it of the sessions.
        upstream: where the double of AssemblyAI's streaming API listens.
    """

    jobs: int
    streams: int
    webhook: Any
    streaming: tuple[str, Any] | None
    ingest: Any = None
    upstream: str = ""

    @classmethod
    def for_config(cls, config: Config, *, jobs: int, streams: int, upstream: str) -> Load:
        """Find the first collector of each type.

        Raises:
            ConfigurationError: the file has none of them.
        """
        first: dict[str, tuple[str, Any]] = {}
        for name, entry in config.collectors.items():
            first.setdefault(entry.type, (name, entry.options))
        if not first.keys() & {"webhook", "streaming", "ingest"}:
            raise ConfigurationError(
                f"{config.path}: --sandbox needs a collector of type webhook, streaming or ingest "
                "to send customers to, and there is none"
            )
        return cls(
            jobs=jobs if "webhook" in first else 0,
            streams=streams if first.keys() & {"streaming", "ingest"} else 0,
            webhook=first["webhook"][1] if "webhook" in first else None,
            streaming=first.get("streaming"),
            ingest=first["ingest"][1] if "ingest" in first else None,
            upstream=upstream,
        )

    @property
    def way(self) -> str:
        """Say which way the sessions take."""
        return "through the relay" if self.streaming else "past meter, with its tap,"

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
        """Stream the sessions: through the relay at `address`, else beside a tap that tells it.

        Raises:
            ConfigurationError: the SDKs connect to /v3/ws, and the collector is elsewhere.
        """
        if self.streaming is None:
            self._tapped(address, seed, on_progress)
            return
        from assemblyai.streaming.v3 import AsyncStreamingClient, StreamingClientOptions

        from meter.collectors.relay.tokens import Grant, make_token
        from meter.sandbox.stream_customers import stream_sessions

        name, options = self.streaming
        if not options.path.endswith("/v3/ws"):
            raise ConfigurationError(
                f"collectors.{name}.path: the SDKs connect to a path that ends in /v3/ws"
            )
        secret = options.token_secret.get_secret_value()

        host = address.replace("http://", "ws://") + options.path.removesuffix("/v3/ws")

        def client_for(customer_id: str, project_id: str) -> AsyncStreamingClient:
            grant = Grant(customer_id, {"project_id": project_id}, single_use=True)
            token = make_token(secret, name, grant, issued_at=datetime.now(UTC), ttl=TOKEN_TTL)
            return AsyncStreamingClient(
                StreamingClientOptions(api_host=host, token=token, connect_timeout=CONNECT_SECONDS)
            )

        stream_sessions(
            client_for=client_for, sessions=self.streams, seed=seed, on_progress=on_progress
        )

    def _tapped(self, address: str, seed: int, on_progress: Callable[[int, int], None]) -> None:
        """Stream straight to the double; nobody hangs up, since only a relay could say so."""
        from tempfile import TemporaryDirectory

        from assemblyai.streaming.v3 import AsyncStreamingClient, StreamingClientOptions

        from meter.recording import Recorder, tap
        from meter.sandbox.stream_customers import stream_sessions

        if not self.ingest.path.endswith("/v1"):
            raise ConfigurationError("collectors.*.path: the tap posts to a path that ends in /v1")
        base = address + self.ingest.path.removesuffix("/v1")
        secret = self.ingest.secret.get_secret_value()
        with (
            TemporaryDirectory(prefix="meter-spool-") as spool,
            Recorder(base, secret=secret, spool=spool) as recorder,
        ):

            def client_for(customer_id: str, project_id: str) -> AsyncStreamingClient:
                client = AsyncStreamingClient(
                    StreamingClientOptions(
                        api_host=self.upstream, api_key="sandbox", connect_timeout=CONNECT_SECONDS
                    )
                )
                dimensions = {"project_id": project_id}
                tap(client, customer_id=customer_id, dimensions=dimensions, to=recorder)
                return client

            stream_sessions(
                client_for=client_for,
                sessions=self.streams,
                seed=seed,
                on_progress=on_progress,
                hang_up=False,
            )
