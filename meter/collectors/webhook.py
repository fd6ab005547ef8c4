"""The collector `webhook`: receipt first, answer, then resolve; and backfill beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from pydantic import Field, field_validator

from meter.collectors.interface import Collector
from meter.collectors.secrets import PreviousSecret, Secrets
from meter.errors import CollectorError, JournalUnavailable
from meter.http import Response, Route
from meter.journal import NewReceipt
from meter.sinks import Duration, Options, Secret

if TYPE_CHECKING:
    from meter.collectors.interface import CollectorContext
    from meter.collectors.resolver import Resolver
    from meter.collectors.window import Found, Told, Window
    from meter.http import Request

__all__ = ["WebhookCollector", "WebhookOptions"]

_KEPT: Final = ("transcript_id", "status", "session_id")
"""What a receipt keeps of a body (DESIGN §4); of anything else only the names of its fields."""
_MOST_NAMES: Final = 20
_MOST_TEXT: Final = 200

_RECEIVED: Final = Response(200, b'{"received":true}')
_NOT_JSON: Final = Response(400, b'{"error":"the body is not JSON"}')
_NOT_OBJECT: Final = Response(400, b'{"error":"the body is not a JSON object"}')
_WRONG_SECRET: Final = Response(401, b'{"error":"missing or wrong secret"}')
_UNWRITABLE: Final = Response(
    503, b'{"error":"not stored; please retry"}', headers=((b"retry-after", b"10"),)
)

_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode


class BackfillOptions(Options):
    """How the transcript list is walked for what no webhook told us."""

    every: Annotated[Duration, Field(description="How often to walk the list.")] = timedelta(
        minutes=15
    )
    lookback: Annotated[
        Duration,
        Field(
            description="How far the first walk reaches, and how far each one overlaps the last."
        ),
    ] = timedelta(hours=24)

    @field_validator("every")
    @classmethod
    def _not_too_often(cls, every: timedelta) -> timedelta:
        if every < timedelta(seconds=1):
            raise ValueError("at least 1s")
        return every


class WebhookOptions(Options):
    """Options of `type: webhook`."""

    api_key: Annotated[Secret, Field(description="The AssemblyAI key that the jobs run under.")]
    secret: Annotated[
        Secret, Field(description="The value that AssemblyAI sends in the webhook header.")
    ]
    previous_secret: PreviousSecret = None
    path: Annotated[str, Field(description="Where the webhooks arrive.", pattern="^/[^?#]*$")] = (
        "/webhooks/assemblyai"
    )
    header: Annotated[
        str,
        Field(description="The header with the secret.", pattern="^[A-Za-z0-9-]+$"),
    ] = "X-Meter-Secret"
    base_url: Annotated[
        str,
        Field(
            description="AssemblyAI's host; https://api.eu.assemblyai.com for the EU.",
            pattern="^https?://",
        ),
    ] = "https://api.assemblyai.com"
    public_url: Annotated[
        str | None,
        Field(
            description="What the world calls this server, e.g. https://meter.example.com; "
            "backfill then takes only jobs whose webhook goes there.",
            pattern="^https?://",
        ),
    ] = None
    backfill: BackfillOptions = BackfillOptions()

    @field_validator("api_key", "secret")
    @classmethod
    def _given(cls, secret: Secret) -> Secret:
        if not secret.get_secret_value():
            raise ValueError("not empty")
        return secret


class WebhookCollector(Collector):
    """Receives AssemblyAI's webhooks for one key on one host."""

    type = "webhook"
    Options = WebhookOptions
    options: WebhookOptions

    def __init__(self, options: WebhookOptions, context: CollectorContext) -> None:
        """Prepare what every request needs."""
        super().__init__(options, context)
        self._header = options.header.lower().encode()
        self._secrets = Secrets(options.secret, options.previous_secret, context.log)
        self._resolver: Resolver | None = None

    @classmethod
    def sandboxed(cls, options: WebhookOptions, doubles: Mapping[str, str]) -> WebhookOptions:
        """Talk to the local double of AssemblyAI, and walk its list every two seconds."""
        backfill = options.backfill.model_copy(update={"every": timedelta(seconds=2)})
        changes = {"base_url": doubles["assemblyai"], "public_url": None, "backfill": backfill}
        return options.model_copy(update=changes)

    @classmethod
    def paths(cls, options: WebhookOptions) -> Sequence[str]:
        """Return the one path that AssemblyAI posts to."""
        return (options.path,)

    def routes(self) -> Sequence[Route]:
        """Mount the one path that AssemblyAI posts to."""
        return (Route("POST", self.options.path, self._receive),)

    async def _receive(self, request: Request) -> Response:
        """Verify the secret, store the receipt, answer; understanding it comes afterwards.

        503 for every fault of our own, because any 4xx ends AssemblyAI's retries for ever.
        """
        given = request.header(self._header)
        if given is None or not self._secrets.admits(given):
            return _WRONG_SECRET
        try:
            body = _decode(await request.body())
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return _NOT_JSON
        if type(body) is not dict:
            return _NOT_OBJECT
        context = self.context
        receipt = NewReceipt(
            context.name,
            context.clock.now(),
            request.query.decode("ascii", "backslashreplace"),
            _encode(_kept(body)).decode(),
        )
        try:
            await context.journal.add_receipt(receipt)
        except JournalUnavailable as error:
            context.log.error("receipt.unsaved", extra={"error": str(error)})  # noqa: TRY400  the text is enough
            return _UNWRITABLE
        if self._resolver is not None:
            self._resolver.wake()
        return _RECEIVED

    def check(self) -> Iterator[str]:
        """Ask AssemblyAI whether it takes the key, and the public address whether it leads here.

        Raises:
            CollectorError: a line for each thing that is wrong.
        """
        from meter.collectors.checking import leads_here, weaknesses

        options = self.options
        faults: list[str] = []
        yield from weaknesses(secret=options.secret, previous_secret=options.previous_secret)
        try:
            yield from asyncio.run(self._key_taken())
        except CollectorError as error:
            faults.append(str(error))
        try:
            if options.public_url is not None:
                yield from leads_here(options.public_url, options.path)
        except CollectorError as error:
            faults.append(str(error))
        if faults:
            raise CollectorError("\n".join(faults))

    async def _key_taken(self) -> list[str]:
        """Say that AssemblyAI takes the key, and how its clock differs from this machine's.

        Raises:
            CollectorError: it does not, or does not answer.
        """
        from meter.collectors.assemblyai_client import Api, ApiError, Unavailable
        from meter.collectors.checking import ASK_SECONDS, OFFLINE, clock_words, place_words

        options = self.options
        where = place_words(options.base_url)
        api = Api(options.api_key, options.base_url, timeout_seconds=ASK_SECONDS)
        try:
            theirs = await api.greet()
        except Unavailable as error:
            raise CollectorError(f"base_url {where}: {error}; {OFFLINE}") from None
        except ApiError as error:
            raise CollectorError(f"{where}: {error}") from None
        finally:
            await api.close()
        skew = clock_words(self.context.clock.now(), theirs)
        taken = f"the key may list transcripts at {where}"
        return [taken] if skew is None else [taken, skew]

    async def run(self, *, once: bool) -> None:
        """Resolve receipts and walk the list: once, or until cancelled."""
        from meter.collectors.assemblyai_client import Api, ApiError
        from meter.collectors.backfill import Backfill, OurJobs
        from meter.collectors.resolver import Resolver

        options = self.options
        api = Api(options.api_key, options.base_url)
        backfill = Backfill(
            api,
            self.context,
            OurJobs(options.path, options.public_url),
            every=options.backfill.every,
            lookback=options.backfill.lookback,
        )
        self._resolver = resolver = Resolver(api, self.context)
        try:
            if once:
                await resolver.settle_all()
                try:
                    await backfill.walk()
                except ApiError as error:
                    self.context.log.error("backfill.failed", extra={"error": str(error)})  # noqa: TRY400  the text is enough
                    await self.context.journal.set_trouble(self.context.name, f"backfill: {error}")
                return
            async with asyncio.TaskGroup() as group:
                group.create_task(resolver.run())
                group.create_task(backfill.run())
        finally:
            self._resolver = None
            await api.close()

    async def collect_window(
        self,
        window: Window,
        *,
        tell: Callable[[Told], None],
        waiting: Callable[[float, str], None],
        restart: bool = False,
        dry_run: bool = False,
    ) -> Found:
        """Walk the list for a window of time; see `meter.collectors.window.WindowWalk`.

        Raises:
            ApiError: it could not be walked to its end; the next run goes on there.
            JournalUnavailable: likewise.
        """
        from meter.collectors.assemblyai_client import Api
        from meter.collectors.jobs import OurJobs
        from meter.collectors.window import WindowWalk

        options = self.options
        api = Api(options.api_key, options.base_url)
        ours = OurJobs(options.path, options.public_url)
        walk = WindowWalk(api, self.context, ours, window, tell=tell, waiting=waiting)
        try:
            return await walk.run(restart=restart, dry_run=dry_run)
        finally:
            await api.close()


def _kept(body: dict[str, Any]) -> dict[str, Any]:
    """Keep the allow-listed fields; of an unknown shape also the names of its fields."""
    kept: dict[str, Any] = {name: _short(body[name]) for name in _KEPT if name in body}
    if not isinstance(kept.get("transcript_id"), str):
        kept["fields"] = [str(name)[:_MOST_TEXT] for name in body][:_MOST_NAMES]
    return kept


def _short(value: Any) -> Any:
    """Return plain text and numbers as they are, cut short; anything deeper by its type."""
    if isinstance(value, str):
        return value[:_MOST_TEXT]
    return value if isinstance(value, int | float | None) else type(value).__name__
