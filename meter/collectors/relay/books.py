"""What is known of one relayed session, and its way into the journal.

A write that the journal cannot take now is tried again until it can; only the end of the process
stops that, and then the facts are in the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import msgspec

from meter.collectors.relay.codes import UNAUTHORIZED, UNWRITABLE
from meter.errors import JournalUnavailable
from meter.events import format_time
from meter.journal import NewSession, Opening, Quarantined, Recorded
from meter.streaming import Begin, Heartbeat, Termination, Unusable, expiry_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meter.collectors.relay.codes import HttpRefusal
    from meter.collectors.relay.relay import Relay
    from meter.collectors.relay.tokens import Grant

__all__ = ["Books", "opening_aside"]

RETRY_SECONDS: Final = 0.25
_encode: Final = msgspec.json.Encoder(decimal_format="number").encode


class Books:
    """The accounts of one session."""

    def __init__(self, relay: Relay, grant: Grant) -> None:
        """Start with nothing but whose session it will be."""
        self._relay = relay
        self._grant = grant
        self._asked_at = relay.clock.now()
        self._opening: int | None = None
        self._number: int | None = None  # the opening's, also once it is settled
        self._session: NewSession | None = None
        self._lower = Decimal(0)
        self._foreign = False  # its id is another customer's session
        self._ended = False  # by a Termination, usable or not
        self._unwritten_lower = False
        self._last: asyncio.Task[None] | None = None
        self.terminated = False

    def names(self) -> Mapping[str, Any]:
        """Return what log lines say of it."""
        return {
            "session": self._session.provider_id if self._session else None,
            "customer_id": self._grant.customer_id,
        }

    async def ask(self) -> HttpRefusal | None:
        """Note that a session is about to be opened; answer a refusal when it must not be."""
        relay, grant = self._relay, self._grant
        self._asked_at = relay.clock.now()
        opening = Opening(
            relay.name,
            grant.customer_id,
            grant.dimensions,
            self._asked_at,
            grant.token_id if grant.single_use else None,
            grant.until,
        )
        try:
            self._opening = self._number = await relay.journal.sessions.add_opening(opening)
        except JournalUnavailable as error:
            relay.log.error("session.unsaved", extra={"error": str(error)})  # noqa: TRY400  because the text is enough
            return UNWRITABLE
        return None

    @property
    def spent(self) -> bool:
        """Tell whether the token was used before, after `ask`."""
        return self._opening is None

    # -- what the provider says --------------------------------------------------------------

    async def begin(self, said: Begin) -> None:
        """Open the session in the journal."""
        relay = self._relay
        if self._session is not None and self._session.provider_id != said.session_id:
            reason = "a second Begin with another id"
            await self._quarantine("begin", reason, said, provider_id=said.session_id)
            return
        session = NewSession(
            provider_id=said.session_id,
            collector=relay.name,
            customer_id=self._grant.customer_id,
            # What is billed runs from the open socket, which a late Begin would hide.
            started_at=self._asked_at,
            expires_at=expiry_of(said, self._asked_at),
            dimensions=self._grant.dimensions,
            model=said.model,
            opening=self._opening,
        )
        if self._session is None:
            self._session = session
        answer = await self._surely(lambda: relay.journal.sessions.open(session))
        self._opening = None
        relay.in_trouble(None)
        if answer is Recorded.CONFLICT:
            self._foreign = True
            relay.log.error("session.conflict", extra=self.names())

    def lengthen(self, said: Heartbeat) -> None:
        """Remember the lower bound; it is written with those of other sessions."""
        if said.lower_seconds > self._lower:
            self._lower = said.lower_seconds
            self._unwritten_lower = True

    def unwritten_lower(self) -> tuple[str, Decimal] | None:
        """Return the session's id and its lower bound, if the journal does not know it yet."""
        if not self._unwritten_lower or self._session is None or self._ended or self._foreign:
            return None
        self._unwritten_lower = False
        return self._session.provider_id, self._lower

    async def terminate(self, said: Termination) -> None:
        """Bill the session."""
        relay, session, now = self._relay, self._session, self._relay.clock.now()
        self._ended = self.terminated = True
        if session is None:
            await self._quarantine("termination", "a Termination whose Begin was never seen", said)
            return
        await self._surely(
            lambda: relay.intake.terminate(session, said, now), seconds=str(said.seconds)
        )

    async def set_aside(self, said: Unusable) -> None:
        """Keep a Begin or Termination that cannot be used."""
        ends = said.type == "Termination"
        self._ended = self._ended or ends
        await self._quarantine(f"unusable-{said.type}", said.reason, said, ends=ends)

    def refused(self, payload: bytes) -> None:
        """Say so when the provider closes before Begin: the key and the account are ours."""
        if self._session is not None:
            return
        code, reason = int.from_bytes(payload[:2], "big"), payload[2:].decode(errors="replace")
        relay = self._relay
        relay.log.warning("session.refused", extra={"code": code, "reason": reason, **self.names()})
        if code == UNAUTHORIZED:
            relay.in_trouble(
                f"AssemblyAI refused a session: {code} {reason}; check api_key, and that upstream "
                "is its region"
            )

    async def conclude(self, *, refused: bool) -> None:
        """Leave the session in one state, now that nothing more can come.

        Args:
            refused: the provider itself ended it; before a Begin that means there was no session.
        """
        if self._last is not None:
            await asyncio.wait([self._last])
        relay, opening, session = self._relay, self._opening, self._session
        if session is not None and not self._ended:
            now = relay.clock.now()
            await self._surely(lambda: relay.intake.abandon(session, self._lower, now))
            relay.log.warning("session.abandoned", extra=self.names())
        elif opening is not None and refused:
            await self._surely(lambda: relay.journal.sessions.drop_opening(opening))
        elif opening is not None:
            item = opening_aside(
                opening,
                Opening(
                    relay.name, self._grant.customer_id, self._grant.dimensions, self._asked_at
                ),
            )
            await self._surely(lambda: relay.journal.sessions.set_opening_aside(opening, item))
            relay.log.error("session.unseen", extra=self.names())

    # -- writing -----------------------------------------------------------------------------

    def in_order(self, record: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Write one thing after the other."""
        before = self._last

        async def write() -> None:
            if before is not None:
                await asyncio.wait([before])
            await record

        self._last = self._relay.start(write())
        return self._last

    async def _surely(self, write: Callable[[], Awaitable[Any]], **facts: str) -> Any:
        complained = False
        while True:
            try:
                return await write()
            except asyncio.CancelledError:
                self._relay.log.critical("session.lost", extra={**self.names(), **facts})
                raise
            except JournalUnavailable as error:
                if not complained:
                    self._relay.log.error(  # noqa: TRY400  because the text is enough
                        "session.unsaved", extra={**self.names(), "error": str(error)}
                    )
                complained = True
                await asyncio.sleep(RETRY_SECONDS)

    async def _quarantine(
        self,
        key: str,
        reason: str,
        said: Any,
        *,
        ends: bool = False,
        provider_id: str | None = None,
    ) -> None:
        relay, session, opening = self._relay, self._session, self._opening
        if provider_id is None and session is not None:
            provider_id = session.provider_id
        grant = self._grant
        item = Quarantined(
            collector=relay.name,
            key=f"{key}:{provider_id or self._number}",
            reason=reason,
            payload=_encode(
                {
                    "said": said,
                    "session_id": provider_id,
                    "customer_id": grant.customer_id,
                    "dimensions": grant.dimensions,
                }
            ).decode(),
            provider_id=provider_id,
        )
        if session is not None and ends:
            await self._surely(
                lambda: relay.journal.sessions.set_aside(
                    session.provider_id, item, customer_id=grant.customer_id
                )
            )
        elif session is None and opening is not None:
            await self._surely(lambda: relay.journal.sessions.set_opening_aside(opening, item))
            self._opening = None
        else:
            await self._surely(lambda: relay.intake.quarantine([item]))
        relay.log.error("session.quarantined", extra={**self.names(), "reason": reason})


def opening_aside(number: int, opening: Opening) -> Quarantined:
    """Return what is kept of an opening that no Begin settled."""
    asked_at = format_time(opening.at)
    return Quarantined(
        collector=opening.collector,
        key=f"opening:{number}",
        reason=f"a session was asked of AssemblyAI at {asked_at} and its Begin was never seen: it "
        "may have begun, and may be billed, under an id that meter does not know",
        payload=_encode(
            {
                "customer_id": opening.customer_id,
                "dimensions": opening.dimensions,
                "asked_at": asked_at,
            }
        ).decode(),
    )
