"""Sinks that append lines of JSON to a file."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from pydantic import Field

from meter.errors import RetryableSinkError
from meter.events import Event, format_seconds
from meter.sinks import Batch, FilePath, Guarantee, Options, Report, Secret, Sink

_SEEN: set[str] = set()


def lines_of(events: Sequence[Event]) -> bytes:
    lines = [
        {
            "id": event.event_id,
            "customer": event.customer_id,
            "seconds": format_seconds(event.billed_seconds or Decimal(0)),
        }
        for event in events
    ]
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


class FileOptions(Options):
    path: FilePath = Field(description="The file.")


class RightFile(Sink):
    """Keeps the file's length in the journal, and cuts back what lies beyond it."""

    type = "right-file"
    guarantee = Guarantee.REPAIRS
    guarantee_note = "what a crash left behind the known length is cut off"
    Options = FileOptions

    def open(self) -> None:
        self.length = int(self.context.state.get("length") or 0)
        try:
            self.file = os.open(self.options.path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise RetryableSinkError(f"{self.options.path}: {error.strerror}") from error
        self.repair()

    def repair(self) -> None:
        os.ftruncate(self.file, self.length)

    def deliver(self, batch: Batch) -> Report:
        text = self.text(batch.events)
        os.pwrite(self.file, text, self.length)
        os.fsync(self.file)
        self.length += len(text)
        return Report.everything(batch, state=[self.context.state.put("length", str(self.length))])

    def text(self, events: Sequence[Event]) -> bytes:
        return lines_of(events)

    def close(self) -> None:
        if hasattr(self, "file"):
            os.close(self.file)


class RightAppend(Sink):
    """Appends and knows nothing of before: after a crash a batch may stand there twice."""

    type = "right-append"
    guarantee = Guarantee.AT_LEAST_ONCE
    guarantee_note = "after a crash the batch in hand may stand there twice"
    Options = FileOptions

    def deliver(self, batch: Batch) -> Report:
        path = Path(self.options.path)
        try:
            file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        except OSError as error:
            raise RetryableSinkError(f"{path}: {error.strerror}") from error
        os.write(file, lines_of(batch.events))
        os.fsync(file)
        os.close(file)
        return Report.everything(batch)


class DoublesAfterAKill(RightFile):
    """What its name says."""

    type = "doubles-after-a-kill"

    def repair(self) -> None:
        self.length = os.fstat(self.file).st_size


class RepairsInTwoSteps(RightFile):
    """What its name says."""

    type = "repairs-in-two-steps"

    def repair(self) -> None:
        known = os.pread(self.file, self.length, 0)
        if os.fstat(self.file).st_size > self.length:
            os.ftruncate(self.file, 0)
            os.pwrite(self.file, known, 0)


class WritesOnClose(RightAppend):
    """What its name says."""

    type = "writes-on-close"

    def open(self) -> None:
        self.kept: list[Event] = []

    def deliver(self, batch: Batch) -> Report:
        self.kept += batch.events
        return Report.everything(batch)

    def close(self) -> None:
        with Path(self.options.path).open("ab") as file:
            file.write(lines_of(self.kept))


class RemembersInTheModule(RightAppend):
    """What its name says."""

    type = "remembers-in-the-module"

    def deliver(self, batch: Batch) -> Report:
        fresh = [event for event in batch.events if event.event_id not in _SEEN]
        _SEEN.update(event.event_id for event in fresh)
        with Path(self.options.path).open("ab") as file:
            file.write(lines_of(fresh))
        return Report.everything(batch)


class ClaimsTooMuch(RightAppend):
    """What its name says."""

    type = "claims-too-much"
    guarantee = Guarantee.REPAIRS


class KeyOptions(FileOptions):
    api_key: Secret = Field(description="The key.")


class LeaksInAnError(RightFile):
    """What its name says."""

    type = "leaks-in-an-error"
    Options = KeyOptions  # type: ignore[assignment]  # because it has more options

    def open(self) -> None:
        try:
            super().open()
        except RetryableSinkError as error:
            key = self.options.api_key.get_secret_value()
            raise RetryableSinkError(f"{error} (with the key {key})") from error


class LeaksInTheLog(RightFile):
    """What its name says."""

    type = "leaks-in-the-log"
    Options = KeyOptions  # type: ignore[assignment]  # because it has more options

    def open(self) -> None:
        super().open()
        headers = {"Authorization": f"Bearer {self.options.api_key.get_secret_value()}"}
        self.context.log.debug("sent", extra={"headers": headers})


class KeepsItsKey(RightFile):
    """Has a key, and keeps it to itself."""

    type = "keeps-its-key"
    Options = KeyOptions  # type: ignore[assignment]  # because it has more options


class TextKeyOptions(FileOptions):
    api_key: str = Field("", description="The key.")
    colour: str = "red"


class KeyAsText(RightFile):
    """What its name says."""

    type = "key-as-text"
    guarantee_note = ""
    Options = TextKeyOptions
