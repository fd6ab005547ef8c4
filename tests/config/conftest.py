"""Real plugins with small sinks and collectors, and a file to load."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from pydantic import Field, field_validator, model_validator

from meter import sinks
from meter.config import Config, load_config
from meter.hookspecs import hookimpl
from meter.plugins import Plugin, Plugins
from meter.sinks import Batch, Duration, FilePath, Guarantee, Report, Secret, Sink

Load = Callable[..., Config]


_GOOD = """\
journal: data/meter.db
server: {port: 0, host: localhost, receipt_deadline: 5s}
collectors:
  transcripts:
    type: webhook
    path: /webhooks/assemblyai
    secret: ${WEBHOOK}
    backfill: {every: 15m, lookback: 24h}
  live: {type: streaming}
sinks:
  rows: {type: ledger, path: usage.db, start: 2026-01-31, wal: false, rows: 007}
  billing:
    type: billing
    api_key: ${STRIPE}
    meters: [{event_name: seconds, kinds: [async_completed]}]
    customers: {file: customers.yaml}
    start: now
pipelines:
  usage: {from: [transcripts, live], to: rows}
  billing:
    from: transcripts
    where:
      customer_id: {not_in: [internal, 007]}
      dimensions.team: a
      language: {exists: true, not: NO}
    kinds: async_completed
    to: [billing, rows]
"""
_SECRETS = {"WEBHOOK": "webhook-secret", "STRIPE": "sk_secret"}


class LedgerSink(Sink):
    """Keeps rows in a file."""

    type = "ledger"
    guarantee = Guarantee.ATOMIC

    class Options(sinks.Options):
        path: FilePath = Field(description="Where the rows are kept.")
        table: str = "usage"
        wal: bool = True
        rows: int = Field(500, ge=1, le=1000)
        share: float | None = Field(None, gt=0)

    def deliver(self, batch: Batch) -> Report:
        return Report.everything(batch)


class BillingSink(LedgerSink):
    """Bills."""

    type = "billing"
    default_start = "now"

    class Options(sinks.Options):
        class Meter(sinks.Options):
            event_name: str = Field(min_length=1)
            kinds: list[str] = Field(min_length=1)
            active: bool = True

        class CustomersByFile(sinks.Options):
            file: FilePath

        class CustomersByMetadata(sinks.Options):
            metadata: str

        api_key: Secret
        meters: list[Meter] = Field(min_length=1)
        customers: CustomersByFile | CustomersByMetadata | Literal["passthrough"] = "passthrough"
        mode: Literal["live", "test"] = "live"
        labels: dict[str, bool] = Field(default_factory=dict)

        @model_validator(mode="before")
        @classmethod
        def _labels_fit(cls, given: Any) -> Any:
            if "nolabel" in (given.get("labels") or {}):
                # The same, in words that look like an expectation.
                raise ValueError(f"a label that goes with {given['api_key']}")
            return given

        @field_validator("api_key")
        @classmethod
        def _begins_right(cls, value: Secret) -> Secret:
            text = value.get_secret_value()
            if not text.startswith("sk_"):
                # What a careless plugin does: the message quotes the secret.
                raise ValueError(f"{text!r} does not begin with sk_")
            return value


class WebhookCollector:
    """Takes webhooks."""

    type: ClassVar[str] = "webhook"

    class Options(sinks.Options):
        class Backfill(sinks.Options):
            every: Duration
            lookback: Duration | None = None

        path: str
        secret: Secret
        backfill: Backfill | None = None


class LiveCollector:
    type: ClassVar[str] = "streaming"

    class Options(sinks.Options):
        path: str = "/v3/ws"
        backfill: str = ""


class Hooks:
    """What a plugin module is: an object with hook implementations."""

    def __init__(self, sinks: list[Any] | None = None, collectors: list[Any] | None = None) -> None:
        self.sinks = sinks or []
        self.collectors = collectors or []

    @hookimpl
    def meter_register_sinks(self) -> list[Any]:
        return self.sinks

    @hookimpl
    def meter_register_collectors(self) -> list[Any]:
        return self.collectors


def plugin_named(name: str) -> Plugin:
    return Plugin(name, f"dist-{name}", "1.0", f"module_{name}")


@pytest.fixture
def plugins() -> Plugins:
    found = Plugins()
    hooks = Hooks([LedgerSink, BillingSink], [WebhookCollector, LiveCollector])
    found.add(plugin_named("bundled"), lambda: hooks)
    return found


@pytest.fixture
def add_plugin(plugins: Plugins) -> Callable[..., None]:
    def add(name: str, *, sinks: list[Any]) -> None:
        plugins.add(plugin_named(name), lambda: Hooks(sinks))

    return add


@pytest.fixture
def break_plugin(plugins: Plugins) -> Callable[[str], None]:
    def add(name: str) -> None:
        def load() -> object:
            raise ImportError("no module named nothing")

        plugins.add(plugin_named(name), load)

    return add


@pytest.fixture
def load(tmp_path: Path, plugins: Plugins, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Load a text as `pipelines.yaml`, named without its folder."""
    monkeypatch.chdir(tmp_path)

    def load_text(text: str | bytes, environ: Mapping[str, str] | None = None) -> Config:
        content = text.encode() if isinstance(text, str) else text
        Path("pipelines.yaml").write_bytes(content)
        return load_config(Path("pipelines.yaml"), plugins, environ=environ or {})

    return load_text


@pytest.fixture
def good() -> str:
    """A file in order that uses everything; `secrets` are its variables."""
    return _GOOD


@pytest.fixture
def secrets() -> dict[str, str]:
    return dict(_SECRETS)
