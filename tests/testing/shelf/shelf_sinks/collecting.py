"""Collectors that read lines of `id customer seconds`: a right one, and broken ones."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, ClassVar

from pydantic import Field

from meter.collectors import Collector
from meter.errors import InvalidEvent
from meter.events import AsyncCompleted
from meter.journal import Quarantined
from meter.sinks import FilePath, Options, Secret

DAY = datetime(2026, 11, 22, tzinfo=UTC)


class LinesOptions(Options):
    path: FilePath = Field(description="The file.")


class RightLines(Collector):
    """Records two lines at a time, and then remembers how far it came."""

    type = "right-lines"
    Options: ClassVar[Any] = LinesOptions
    first_the_cursor: ClassVar[bool] = False

    async def run(self, *, once: bool) -> None:
        del once
        name, journal = self.context.name, self.context.journal
        lines = self.options.path.read_text().splitlines()
        for start in range(int(journal.cursor(name) or 0), len(lines), 2):
            if self.first_the_cursor:
                await journal.set_cursor(name, str(start + 2))
            for number, line in enumerate(lines[start : start + 2], start + 1):
                await self.take(number, line)
            if not self.first_the_cursor and start + 2 <= len(lines):
                await journal.set_cursor(name, str(start + 2))

    async def take(self, number: int, line: str) -> None:
        try:
            event = self.event(line)
        except (ValueError, ArithmeticError) as error:
            await self.malformed(number, line, error)
        else:
            await self.context.intake.record([event])

    async def malformed(self, number: int, line: str, error: Exception) -> None:
        item = Quarantined(self.context.name, f"line {line}", f"line {number}: {error}", "{}")
        await self.context.intake.quarantine([item])

    def event(self, line: str) -> AsyncCompleted:
        try:
            provider_id, customer_id, seconds = line.split()
        except ValueError:
            raise InvalidEvent("expected three words") from None
        return AsyncCompleted(
            provider="other",
            provider_id=provider_id,
            customer_id=customer_id,
            seconds=Decimal(seconds),
            collector=self.context.name,
            occurred_at=DAY,
            recorded_at=self.context.clock.now(),
        )


class CursorFirst(RightLines):
    """Remembers before it records."""

    type = "cursor-first"
    first_the_cursor = True


class IdsOfChance(RightLines):
    """Makes an id of its own for each fact."""

    type = "ids-of-chance"

    def event(self, line: str) -> AsyncCompleted:
        _, *rest = line.split()
        return super().event(" ".join([uuid.uuid4().hex, *rest]))


class StopsAtTheFirst(RightLines):
    """Stops at the first line that it cannot read."""

    type = "stops-at-the-first"

    async def malformed(self, number: int, line: str, error: Exception) -> None:
        del line
        raise ValueError(f"line {number}") from error


class DropsTheMalformed(RightLines):
    """Says nothing of what it cannot read."""

    type = "drops-the-malformed"

    async def malformed(self, number: int, line: str, error: Exception) -> None:
        del number, line, error


class GivesNoReason(RightLines):
    """Sets aside what it cannot read, and nobody learns why."""

    type = "gives-no-reason"

    async def malformed(self, number: int, line: str, error: Exception) -> None:
        del number, error
        item = Quarantined(self.context.name, f"line {line}", " ", "{}")
        await self.context.intake.quarantine([item])


class KeyedOptions(LinesOptions):
    key: Secret = Field(description="What the source asks for.")


class TellsItsKey(RightLines):
    """Says with which key it asked."""

    type = "tells-its-key"
    Options = KeyedOptions

    def check(self) -> Iterator[str]:
        yield f"asked with {self.options.key.get_secret_value()}"


class NeverMalformed(RightLines):
    """Says that nothing can be malformed in its source."""

    type = "never-malformed"
    exemptions: ClassVar[Mapping[str, str]] = {
        "test_malformed_input_is_set_aside_and_counted": "every three words are a fact"
    }
