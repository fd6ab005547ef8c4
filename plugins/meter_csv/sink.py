"""The sink `csv`: one row an event, in files that spreadsheets and accountants can read."""

from __future__ import annotations

import csv
import io
import os
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from pydantic import AfterValidator, Field

from meter.errors import FatalSinkError, RetryableSinkError
from meter.events import format_seconds, format_time
from meter.sinks import FilePath, Guarantee, Options, Report, Sink
from meter_csv.template import Template

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from meter.events import Event
    from meter.sinks import Batch, SinkContext, StateWrite

__all__ = ["CsvOptions", "CsvSink"]

HEADER: Final = (
    "event_id",
    "kind",
    "customer_id",
    "seconds",
    "provider_id",
    "collector",
    "occurred_at",
    "recorded_at",
    "model",
    "audio_seconds",
    "dimensions",
)
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a spreadsheet may take for a formula at the start of a cell."""

_encode: Final = msgspec.json.Encoder(order="deterministic").encode


def _is_template(path: Path) -> Path:
    Template(path)
    return path


class CsvOptions(Options):
    """Options of `type: csv`."""

    path: Annotated[
        FilePath,
        AfterValidator(_is_template),
        Field(
            description="The file; {month}, {date}, {customer_id} and {kind} make several. "
            "Months and dates are those of occurred_at in UTC."
        ),
    ]


class CsvSink(Sink):
    """Appends rows and keeps each file's length in the journal, beside the checkpoint.

    A crash between the two leaves a tail that the journal does not know: it is cut off when
    the file is next touched, and the same rows are written again.
    """

    type = "csv"
    guarantee = Guarantee.REPAIRS
    guarantee_note = "a tail that a crash left is cut back to the checkpoint before writing goes on"
    Options = CsvOptions
    batch_size = 10_000
    options: CsvOptions

    def __init__(self, options: CsvOptions, context: SinkContext) -> None:
        """Read the template; touch nothing yet."""
        super().__init__(options, context)
        self._template = Template(options.path)
        self._lengths: dict[str, int] = {}
        self._names: dict[tuple[str, ...], str] = {}

    @classmethod
    def sandboxed(cls, options: CsvOptions, doubles: Mapping[str, str]) -> CsvOptions:
        """Return the options as they are: they name a file only."""
        del doubles
        return options

    def open(self) -> None:
        """Cut every file back to the length that the journal knows.

        Raises:
            FatalSinkError: a file is shorter than that, or its header is not ours.
        """
        self._lengths = {}
        after = ""
        while pairs := self.context.state.scan("file:", after=after):
            self._lengths.update((key.removeprefix("file:"), int(value)) for key, value in pairs)
            after = pairs[-1][0]
        self._template.folder.mkdir(parents=True, exist_ok=True)
        for name in self._lengths:
            self._repair(name)

    def deliver(self, batch: Batch) -> Report:
        """Append the rows of each file and make them durable.

        Raises:
            RetryableSinkError: the disk refuses.
            FatalSinkError: a file stands in the way that this sink did not write.
        """
        rows: defaultdict[str, list[tuple[str, ...]]] = defaultdict(list)
        for event in batch.events:
            rows[self._name(event)].append(_row(event))
        try:
            self._begin([name for name in rows if name not in self._lengths])
            lengths = {name: self._append(name, some) for name, some in rows.items()}
        except OSError as error:
            raise RetryableSinkError(
                f"{error.filename or self.options.path}: {error.strerror}"
            ) from error
        self._lengths.update(lengths)
        return Report.everything(
            batch, state=[self._known(name, length) for name, length in lengths.items()]
        )

    def _name(self, event: Event) -> str:
        key = self._template.key(event)
        name = self._names.get(key)
        if name is None:
            name = self._names[key] = self._template.name(key)
        return name

    def _known(self, name: str, length: int) -> StateWrite:
        return self.context.state.put(f"file:{name}", str(length))

    def _begin(self, names: list[str]) -> None:
        """Claim new files in the journal before they are made, so that none is ever unknown."""
        for name in names:
            path = self._template.folder / name
            if path.exists():
                raise FatalSinkError(
                    f"{path} exists and was not written by this sink; move it away, or give the "
                    "sink another `path:`"
                )
        if names:
            self.context.state.commit([self._known(name, 0) for name in names])
            self._lengths.update(dict.fromkeys(names, 0))

    def _append(self, name: str, rows: list[tuple[str, ...]]) -> int:
        """Write rows behind the known length, fsync, and return the new length in bytes."""
        path = self._template.folder / name
        length = self._repair(name)
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        if length == 0:
            writer.writerow(HEADER)
        writer.writerows(rows)
        data = text.getvalue().encode()
        created = not path.exists()
        if created:
            path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(
            path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644
        )
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if created:
            _sync_folder(path.parent)
        return length + len(data)

    def _repair(self, name: str) -> int:
        """Cut a tail that no checkpoint knows, and return the length to write behind."""
        path, known = self._template.folder / name, self._lengths[name]
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            if known:
                self.context.log.warning("csv.moved_away", extra={"path": str(path)})
                self.context.state.commit([self._known(name, 0)])
                self._lengths[name] = 0
            return 0
        if size < known:
            raise FatalSinkError(
                f"{path} has {size} bytes, this sink wrote {known}: it was changed or cut short; "
                "put the whole file back, or move it away to start a new one"
            )
        if size > known:
            self.context.log.warning(
                "csv.repaired", extra={"path": str(path), "bytes": size - known}
            )
            os.truncate(path, known)
        if known:
            self._check_header(path)
        return known

    @staticmethod
    def _check_header(path: Path) -> None:
        ours = (",".join(HEADER) + "\r\n").encode()
        with path.open("rb") as file:
            if file.read(len(ours)) != ours:
                raise FatalSinkError(
                    f"{path}: the header is not the one this sink wrote; put the file back as it "
                    "was, or move it away to start a new one"
                )


def _sync_folder(folder: Path) -> None:
    """Make a new file's name durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _row(event: Event) -> tuple[str, ...]:
    seconds, audio = event.billed_seconds, getattr(event, "audio_seconds", None)
    return (
        _cell(event.event_id),
        event.kind,
        _cell(event.customer_id),
        _number(seconds),
        _cell(event.provider_id),
        _cell(event.collector),
        format_time(event.occurred_at),
        format_time(event.recorded_at),
        _cell(getattr(event, "model", None) or ""),
        _number(audio),
        _encode(event.dimensions).decode() if event.dimensions else "{}",
    )


def _cell(text: str) -> str:
    """Keep a spreadsheet from running a text as a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def _number(seconds: Decimal | None) -> str:
    return "" if seconds is None else format_seconds(seconds)
