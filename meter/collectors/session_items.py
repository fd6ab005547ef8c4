"""Streaming messages that somebody else received, with whose session each belongs to.

What `POST /v1/sessions` takes, and what a recorder writes straight into a journal file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import msgspec

from meter.collectors.posted import AHEAD, Answer, SessionItem, key_of
from meter.errors import InvalidEvent
from meter.events import event_id_for
from meter.journal import NewSession, Quarantined, Recorded
from meter.streaming import Begin, Heartbeat, Termination, Unusable, expiry_of, read_message

if TYPE_CHECKING:
    from meter.clock import Clock
    from meter.collectors.intake import Intake
    from meter.journal import Journal
    from meter.streaming import SessionMessage

__all__ = ["SessionItems"]

_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NO_ID: Final = "session_id: expected the id that Begin carried"
_decode_item: Final = msgspec.json.Decoder(SessionItem).decode
_encode: Final = msgspec.json.Encoder(decimal_format="number").encode


class _Said(msgspec.Struct, frozen=True):
    seconds: Decimal | None = None
    audio_seconds: Decimal | None = None


class _Kept(msgspec.Struct, frozen=True):
    """What quarantine keeps of a message; see `SessionItems._aside`."""

    said: _Said = _Said()
    customer_id: str | None = None
    received_at: datetime | None = None


_decode_kept: Final = msgspec.json.Decoder(_Kept).decode


class SessionItems:
    """Takes streaming messages into a journal, each answered on its own."""

    def __init__(self, collector: str, *, journal: Journal, intake: Intake, clock: Clock) -> None:
        """Record under a collector's name."""
        self._collector = collector
        self._journal = journal
        self._intake = intake
        self._clock = clock

    async def take(self, items: Sequence[msgspec.Raw]) -> list[Answer]:
        """Take messages, every Begin first, so that the rest finds its session.

        Raises:
            JournalUnavailable: not all was stored; the same items again are safe.
        """
        answers: dict[int, Answer] = {}
        later: list[tuple[int, SessionItem, Any]] = []
        begins = []
        for number, raw in enumerate(items):
            try:
                item = _decode_item(raw)
                self._received(item)
            except (msgspec.DecodeError, InvalidEvent, UnicodeDecodeError, RecursionError) as error:
                answers[number] = Answer("invalid", str(error))
                continue
            said = read_message(item.message)
            if bytes(item.message)[:1] != b"{":
                answers[number] = Answer("invalid", "message: expected an object")
            elif said is None:
                answers[number] = Answer("ignored", "no Begin, Heartbeat or Termination")
            elif isinstance(said, Begin):
                begins.append(self._begin(number, raw, item, said))
            else:
                later.append((number, item, said))
        answers.update(await asyncio.gather(*begins))
        answers.update(
            await asyncio.gather(*(self._go_on(n, items[n], item, said) for n, item, said in later))
        )
        return [answers[number] for number in range(len(items))]

    def _received(self, item: SessionItem) -> datetime:
        at = item.received_at
        if at is None:
            return self._clock.now()
        if not _EARLIEST < at < self._clock.now() + AHEAD:
            raise InvalidEvent("received_at: expected a time from 1970 to now")
        return at.astimezone(UTC)

    async def _begin(
        self, number: int, raw: msgspec.Raw, item: SessionItem, said: Begin
    ) -> tuple[int, Answer]:
        if item.session_id not in (None, said.session_id):
            return number, Answer("invalid", "session_id: Begin carries another id")
        if not item.customer_id:
            reason = "customer_id: expected whose session it is"
            return number, await self._aside(raw, item, said, reason, said.session_id)
        at = self._received(item)
        session = NewSession(
            provider_id=said.session_id,
            collector=self._collector,
            customer_id=item.customer_id,
            started_at=at,
            expires_at=expiry_of(said, at),
            dimensions=item.dimensions,
            model=said.model,
        )
        recorded = await self._journal.sessions.open(session)
        if recorded is not Recorded.CONFLICT:
            await self._end_if_waiting(session)
        return number, Answer.of(recorded)

    async def _end_if_waiting(self, session: NewSession) -> None:
        """Bill a Termination that came before anybody said whose session it is."""
        for payload in self._journal.waiting(self._collector, session.provider_id):
            kept = _decode_kept(payload)
            if kept.said.seconds is not None and not kept.customer_id:
                said = Termination(kept.said.seconds, kept.said.audio_seconds)
                await self._intake.terminate(session, said, kept.received_at or session.started_at)

    async def _go_on(
        self,
        number: int,
        raw: msgspec.Raw,
        item: SessionItem,
        said: Heartbeat | Termination | Unusable,
    ) -> tuple[int, Answer]:
        session_id = item.session_id
        if isinstance(said, Unusable):
            answer = await self._aside(raw, item, said, said.reason, session_id)
        elif isinstance(said, Heartbeat):
            answer = await self._lengthen(session_id, said)
        elif not session_id:
            answer = await self._aside(raw, item, said, _NO_ID)
        else:
            answer = await self._terminate(session_id, raw, item, said)
        return number, answer

    async def _lengthen(self, session_id: str | None, said: Heartbeat) -> Answer:
        if not session_id:
            return Answer("invalid", _NO_ID)
        sessions = self._journal.sessions
        if sessions.find(session_id) is None:
            return Answer("ignored", "this session's Begin is not known")
        await sessions.lengthen([(session_id, said.lower_seconds)])
        return Answer("recorded")

    async def _terminate(
        self, session_id: str, raw: msgspec.Raw, item: SessionItem, said: Termination
    ) -> Answer:
        at = self._received(item)
        session = self._journal.sessions.find(session_id)
        if session is not None and item.customer_id in (None, session.customer_id):
            recorded = await self._intake.terminate(session, said, at)
        elif item.customer_id:  # nobody's yet, or another customer's: then it is a conflict
            unseen = NewSession(
                provider_id=session_id,
                collector=self._collector,
                customer_id=item.customer_id,
                started_at=at,
                expires_at=at,
                dimensions=item.dimensions,
            )
            recorded = await self._intake.terminate(unseen, said, at, begin_seen=False)
        else:
            reason = (
                "customer_id: this session's Begin is not known, so say whose it is"
                if session is None
                else "customer_id: expected whose session it is, got empty text"
            )
            return await self._aside(raw, item, said, reason, session_id)
        return Answer.of(recorded, event_id_for("assemblyai", "session", session_id))

    async def _aside(
        self,
        raw: msgspec.Raw,
        item: SessionItem,
        said: SessionMessage,
        reason: str,
        session_id: str | None = None,
    ) -> Answer:
        """Keep the provider's word, and whose session it is, where a person finds it."""
        quarantined = Quarantined(
            collector=self._collector,
            key=key_of(raw),
            reason=reason,
            payload=_encode(
                {
                    "said": said,
                    "session_id": session_id,
                    "customer_id": item.customer_id,
                    "dimensions": item.dimensions,
                    "received_at": self._received(item),
                }
            ).decode(),
            provider_id=session_id,
        )
        ends = isinstance(said, Termination) or (
            isinstance(said, Unusable) and said.type == "Termination"
        )
        if session_id and ends:
            await self._journal.sessions.set_aside(session_id, quarantined)
        else:
            await self._intake.quarantine([quarantined])
        return Answer("quarantined", reason)
