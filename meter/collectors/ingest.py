"""The collector `ingest`: facts that applications post, in any language.

`POST /v1/sessions` takes the provider's own streaming messages, `POST /v1/events` every other
fact. Each item is answered on its own, after it is durable; the event id is meter's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from pydantic import Field, field_validator

from meter.collectors.interface import Collector
from meter.collectors.posted import Answer, Refused, items_of, posted_event
from meter.collectors.secrets import PreviousSecret, Secrets
from meter.collectors.session_items import SessionItems
from meter.errors import InvalidEvent, JournalUnavailable
from meter.http import Response, Route
from meter.sinks import Options, Secret

if TYPE_CHECKING:
    from meter.collectors.interface import CollectorContext
    from meter.events import AnyEvent
    from meter.http import Request

__all__ = ["IngestCollector", "IngestOptions"]

_WRONG_SECRET: Final = Response(
    401,
    b'{"error":"missing or wrong secret; send Authorization: Bearer <secret>"}',
    headers=((b"www-authenticate", b"Bearer"),),
)
_UNWRITABLE: Final = Response(
    503, b'{"error":"not stored; please retry"}', headers=((b"retry-after", b"10"),)
)
_encode: Final = msgspec.json.Encoder(decimal_format="number").encode

Take = Callable[[Sequence[msgspec.Raw]], Awaitable[Sequence[Answer]]]


class IngestOptions(Options):
    """Options of `type: ingest`."""

    secret: Annotated[
        Secret, Field(description="What applications send as `Authorization: Bearer <secret>`.")
    ]
    previous_secret: PreviousSecret = None
    path: Annotated[
        str,
        Field(description="Where `/sessions` and `/events` are mounted.", pattern="^(/[^/?#]+)*$"),
    ] = "/v1"

    @field_validator("secret")
    @classmethod
    def _given(cls, secret: Secret) -> Secret:
        if not secret.get_secret_value():
            raise ValueError("not empty")
        return secret


class IngestCollector(Collector):
    """Takes facts over HTTP from whoever has the secret.

    Attributes:
        invalid: how many items were refused in this run, in requests that were taken.
    """

    type = "ingest"
    Options = IngestOptions
    options: IngestOptions

    def __init__(self, options: IngestOptions, context: CollectorContext) -> None:
        """Prepare what every request needs."""
        super().__init__(options, context)
        self.invalid = 0
        self._sessions = SessionItems(
            context.name, journal=context.journal, intake=context.intake, clock=context.clock
        )
        self._secrets = Secrets(options.secret, options.previous_secret, context.log)

    @classmethod
    def sandboxed(cls, options: IngestOptions, doubles: Mapping[str, str]) -> IngestOptions:
        """Return the options as they are: they reach nothing."""
        del doubles
        return options

    @classmethod
    def paths(cls, options: IngestOptions) -> Sequence[str]:
        """Return the two paths."""
        return (f"{options.path}/sessions", f"{options.path}/events")

    def routes(self) -> Sequence[Route]:
        """Mount the two paths."""
        sessions, events = self.paths(self.options)
        return (
            Route("POST", sessions, self._receive_sessions),
            Route("POST", events, self._receive_events),
        )

    def check(self) -> Iterator[str]:
        """Look at the secrets; there is nobody to ask."""
        from meter.collectors.checking import weaknesses

        options = self.options
        yield from weaknesses(secret=options.secret, previous_secret=options.previous_secret)

    async def run(self, *, once: bool) -> None:
        """Have nothing to fetch: everything is posted."""
        del once

    async def _receive_sessions(self, request: Request) -> Response:
        return await self._receive(request, self._sessions.take)

    async def _receive_events(self, request: Request) -> Response:
        return await self._receive(request, self._events)

    async def _receive(self, request: Request, take: Take) -> Response:
        given = request.header(b"authorization") or b""
        scheme, _, secret = given.partition(b" ")
        if scheme.lower() != b"bearer" or not self._secrets.admits(secret.strip()):
            return _WRONG_SECRET
        try:
            items = items_of(await request.body())
        except Refused as refusal:
            return Response(400, _encode({"error": str(refusal)}))
        try:
            answers = await take(items)
        except JournalUnavailable as error:
            self.context.log.error("ingest.unsaved", extra={"error": str(error)})  # noqa: TRY400  the text is enough
            return _UNWRITABLE
        self.invalid += sum(answer.status == "invalid" for answer in answers)
        return Response(200, _encode({"results": answers}))

    # -- facts -------------------------------------------------------------------------------

    async def _events(self, items: Sequence[msgspec.Raw]) -> list[Answer]:
        context = self.context
        now = context.clock.now()
        answers: dict[int, Answer] = {}
        events: dict[int, AnyEvent] = {}
        for number, item in enumerate(items):
            try:
                events[number] = posted_event(item, context.name, now)
            except InvalidEvent as error:
                answers[number] = Answer("invalid", str(error))
        recorded = await context.intake.record(list(events.values())) if events else []
        for (number, event), answer in zip(events.items(), recorded, strict=True):
            answers[number] = Answer.of(answer, event.event_id)
        return [answers[number] for number in range(len(items))]
