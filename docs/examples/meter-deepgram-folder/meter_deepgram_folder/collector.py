"""The collector `deepgram_folder`: one saved response is one fact of usage.

An application saves each response of Deepgram's as `<folder>/<customer>/<anything>.json`: written
beside under another ending, then renamed, so that no half of one is ever read.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import Field

from meter.collectors import Collector, Quarantined
from meter.errors import CollectorError, InvalidEvent
from meter.events import AsyncCompleted
from meter.sinks import Duration, FilePath, Options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meter.collectors import CollectorContext

AT_ONCE: Final = 500
"""So many files are recorded in one commit."""
LONGEST: Final = 10_000
"""Characters of a bad file that are kept, so that a person can see what it was."""


class DeepgramFolderOptions(Options):
    """Options of `type: deepgram_folder`."""

    path: Annotated[FilePath, Field(description="The folder with one folder a customer.")]
    every: Annotated[Duration, Field(description="How often it is looked through.")] = timedelta(
        seconds=10
    )


class DeepgramFolder(Collector):
    """Reads each file once a run; what it read before comes back as a duplicate."""

    type = "deepgram_folder"
    Options = DeepgramFolderOptions
    options: DeepgramFolderOptions

    def __init__(self, options: DeepgramFolderOptions, context: CollectorContext) -> None:
        """Remember nothing: the journal knows what is recorded."""
        super().__init__(options, context)
        self._seen: set[Path] = set()

    @classmethod
    def sandboxed(
        cls, options: DeepgramFolderOptions, doubles: Mapping[str, str]
    ) -> DeepgramFolderOptions:
        """Return the options as they are: they name a folder only."""
        del doubles
        return options

    async def run(self, *, once: bool) -> None:
        """Look through the folder once, or again and again until meter ends."""
        while True:
            fresh = await asyncio.to_thread(self._fresh)
            for start in range(0, len(fresh), AT_ONCE):
                await self._take(fresh[start : start + AT_ONCE])
            if once:
                return
            await asyncio.sleep(self.options.every.total_seconds())

    def _fresh(self) -> list[Path]:
        if not self.options.path.is_dir():
            raise CollectorError(f"{self.options.path} is no folder; make it, or correct `path:`")
        return sorted(set(self.options.path.glob("*/*.json")) - self._seen)

    async def _take(self, paths: list[Path]) -> None:
        """Record files; each is a fact or, with the reason, in quarantine. Then it is seen."""
        events, bad = [], []
        for path, found in await asyncio.to_thread(lambda: list(self._read(paths))):
            if isinstance(found, Quarantined):
                self.context.log.warning("deepgram.bad_file", extra={"path": str(path)})
                bad.append(found)
            else:
                events.append(found)
        await self.context.intake.record(events)
        await self.context.intake.quarantine(bad)
        self._seen.update(paths)

    def _read(self, paths: list[Path]) -> Iterator[tuple[Path, AsyncCompleted | Quarantined]]:
        for path in paths:
            text = path.read_bytes().decode("utf-8", "backslashreplace")
            try:
                yield path, self._event(path, json.loads(text, parse_float=Decimal))
            except (InvalidEvent, ValueError, TypeError, LookupError, ArithmeticError) as error:
                yield (
                    path,
                    Quarantined(
                        collector=self.context.name,
                        key=f"file:{path.parent.name}/{path.name}",
                        reason=f"{path}: {type(error).__name__}: {error}",
                        payload=json.dumps({"text": text[:LONGEST]}),
                    ),
                )

    def _event(self, path: Path, response: dict[str, Any]) -> AsyncCompleted:
        """Return the fact that a response stands for; its id is Deepgram's own."""
        metadata = response["metadata"]
        return AsyncCompleted(
            provider="deepgram",
            provider_id=metadata["request_id"],
            customer_id=path.parent.name,
            collector=self.context.name,
            occurred_at=datetime.fromisoformat(metadata["created"]),
            recorded_at=self.context.clock.now(),
            seconds=Decimal(metadata["duration"]),
            model=next((info["name"] for info in metadata.get("model_info", {}).values()), None),
            channels=metadata.get("channels"),
        )
