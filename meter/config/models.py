"""What a pipelines file says, once it is known to be in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias

from pydantic import AfterValidator, Field, ValidationInfo

from meter.config.conditions import Condition  # noqa: TC001  pydantic reads it at run time
from meter.events import BILLED_KINDS
from meter.sinks import Duration, Options, Secret
from meter.sinks.options import none_if_empty

if TYPE_CHECKING:
    from pathlib import Path

    from meter.config.rates import RatesOptions
    from meter.plugins import Extension
    from meter.sinks import Sink

__all__ = [
    "CollectorConfig",
    "Config",
    "PipelineConfig",
    "ServerOptions",
    "SinkConfig",
    "Start",
]

DEFAULT_JOURNAL: Final = "meter.db"

Start: TypeAlias = Literal["beginning", "now"] | datetime
"""Where a new sink starts; a time is UTC."""

# A test keeps this equal to meter.events.KINDS: a Literal has to be spelled out.
Kind: TypeAlias = Literal[
    "async_completed", "stream_terminated", "async_failed", "stream_abandoned"
]


def _some_time(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("a duration longer than 0s")
    return value


def _not_empty(value: Secret | None) -> Secret | None:
    if value is not None and not value.get_secret_value():
        raise ValueError("not empty")
    return value


def _beside_a_new_one(value: Secret | None, info: ValidationInfo) -> Secret | None:
    if value is not None and info.data.get("admin_secret", value) is None:
        raise ValueError(
            "there is no admin_secret that it was before; name the new one admin_secret, or "
            "remove this line"
        )
    return value


class ServerOptions(Options):
    """`server:`: where meter listens, and what it refuses."""

    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(8787, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    max_body: int = Field(1_048_576, ge=1, description="The largest request body, bytes.")
    receipt_deadline: Annotated[Duration, AfterValidator(_some_time)] = Field(
        timedelta(seconds=8),
        description="How long a request may take to arrive and be answered. AssemblyAI waits "
        "10 s for an answer to a webhook.",
    )
    admin_secret: Annotated[Secret | None, AfterValidator(_not_empty)] = Field(
        None,
        description="What the operator's page at `/` asks for, and `POST /v1/tokens` as "
        "`Authorization: Bearer <secret>`. Without it that path is off, and the page is for "
        "browsers on this machine alone.",
    )
    previous_admin_secret: Annotated[
        Secret | None, AfterValidator(none_if_empty), AfterValidator(_beside_a_new_one)
    ] = Field(
        None,
        description="What `admin_secret` was before: `POST /v1/tokens` and `GET /metrics` take it "
        "as well, while it is being rotated. Empty is none.",
    )
    metrics_secret: Annotated[Secret | None, AfterValidator(_not_empty)] = Field(
        None,
        description="What `GET /metrics` asks for as `Authorization: Bearer <secret>`, from "
        "everywhere; the admin secret is taken too. Without it, this machine reads it freely, and "
        "others need the admin secret.",
    )
    max_concurrency: int = Field(
        512, ge=1, description="Requests served at once; beyond it comes 503 with Retry-After."
    )


class PipelineConfig(Options):
    """One entry of `pipelines:`: which collectors feed which sinks.

    `from`, `to` and `kinds` take one name as well as a list. An event passes when its
    collector, its kind and every condition of `where` fit.
    """

    from_: tuple[str, ...] = Field(
        alias="from", min_length=1, description="Collectors that feed this pipeline."
    )
    to: tuple[str, ...] = Field(min_length=1, description="Sinks that this pipeline feeds.")
    kinds: tuple[Kind, ...] = Field(
        BILLED_KINDS,
        min_length=1,
        description="Kinds of event to deliver; by default those that are billed.",
    )
    where: Mapping[str, Condition] = Field(
        default_factory=dict, repr=False, description="What else an event must be."
    )


@dataclass(frozen=True, slots=True)
class CollectorConfig:
    """One entry of `collectors:`.

    Attributes:
        name: as the user gave it; it names the collector in events.
        type: as plugins register it.
        options: an instance of the class's `Options`.
        extension: the class, and the plugin that it comes from.
    """

    name: str
    type: str
    options: Any = field(repr=False)
    extension: Extension[Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class SinkConfig:
    """One entry of `sinks:`.

    Attributes:
        name: as the user gave it; its checkpoint is kept under it.
        type: as plugins register it.
        options: an instance of the class's `Options`.
        extension: the class, and the plugin that it comes from.
        start: where the sink starts when it is new; None leaves it to its class.
    """

    name: str
    type: str
    options: Any = field(repr=False)
    extension: Extension[Sink] = field(repr=False)
    start: Start | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """A whole pipelines file. Its `repr` shows names, and nothing that could be a secret.

    Attributes:
        path: the file, as it was named.
        folder: where the file is, absolute; relative paths in it are relative to this.
        journal: a file's path, absolute.
        server: `server:`, with defaults.
        collectors: by name, in the file's order.
        sinks: by name, in the file's order.
        pipelines: by name, in the file's order.
        rates: `rates:`; None without.
        warnings: what is allowed but hardly meant, each with its place.
    """

    path: Path
    folder: Path
    journal: str = field(repr=False)
    server: ServerOptions = field(repr=False)
    collectors: dict[str, CollectorConfig]
    sinks: dict[str, SinkConfig]
    pipelines: dict[str, PipelineConfig]
    rates: RatesOptions | None = None
    warnings: tuple[str, ...] = ()
