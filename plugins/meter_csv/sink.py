"""The sink `csv`: one row an event, in files that spreadsheets and accountants can read."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from pydantic import AfterValidator, Field

from meter.errors import FatalSinkError, RetryableSinkError
from meter.events import format_seconds, format_time
from meter.sinks import FilePath, Guarantee, Options, Report, Sink, room_for
from meter_csv.template import Template

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime
    from decimal import Decimal

    from meter.events import Event
    from meter.sinks import Batch, SinkContext, StateWrite, Written

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
_FLAGS: Final = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
_DIGESTED: Final = 4096
"""Bytes at either end of a file that tell whether it is still the one that was written."""
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
    mending = (
        "move the file that is wrong away, then `meter replay --force` the time that it is of: a "
        "new file is written"
    )
    Options = CsvOptions
    batch_size = 10_000
    options: CsvOptions

    def __init__(self, options: CsvOptions, context: SinkContext) -> None:
        """Read the template; touch nothing yet."""
        super().__init__(options, context)
        self._template = Template(options.path)
        self._files: dict[str, _Known] = {}
        self._names: dict[tuple[str, ...], str] = {}

    @classmethod
    def sandboxed(cls, options: CsvOptions, doubles: Mapping[str, str]) -> CsvOptions:
        """Return the options as they are: they name a file only."""
        del doubles
        return options

    def check(self) -> Sequence[str]:
        """Look whether the files can be written; makes nothing.

        Raises:
            FatalSinkError: they cannot.
        """
        path = self.options.path
        if "{" not in str(path):
            return (room_for(path),)
        room_for(self._template.folder / "any.csv")
        return (f"files can be written in {self._template.folder}",)

    def open(self) -> None:
        """Cut every file back to what the journal knows of it.

        Raises:
            FatalSinkError: a file is not what this sink wrote.
        """
        self._files = dict(self._known())
        _make(self._template.folder)
        for name, known in self._files.items():
            if known.length and (descriptor := self._descriptor(name)) is not None:
                try:
                    self._repair(name, descriptor)
                finally:
                    os.close(descriptor)

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
            self._claim([name for name in rows if name not in self._files])
            written = {name: self._append(name, some) for name, some in rows.items()}
        except OSError as error:
            raise RetryableSinkError(
                f"{error.filename or self.options.path}: {error.strerror}"
            ) from error
        self._files.update(written)
        return Report.everything(
            batch, state=[self._state(name, known) for name, known in written.items()]
        )

    def written(self, since: datetime | None, until: datetime | None) -> Iterator[Written]:
        """Read every file of this sink's back, for `meter reconcile`.

        Raises:
            RetryableSinkError, FatalSinkError: one of them cannot be read.
        """
        from meter_csv.reading import rows

        del since, until  # a row that was altered may stand in any file
        for name, _ in self._known():
            yield from rows(self._template.folder / name, HEADER, _FORMULA)

    def _known(self) -> Iterator[tuple[str, _Known]]:
        """Yield what the journal knows of each file, by its name below the folder."""
        after = ""
        while pairs := self.context.state.scan("file:", after=after):
            for key, value in pairs:
                yield key.removeprefix("file:"), _Known.read(value)
            after = pairs[-1][0]

    def _name(self, event: Event) -> str:
        key = self._template.key(event)
        name = self._names.get(key)
        if name is None:
            name = self._names[key] = self._template.name(key)
        return name

    def _state(self, name: str, known: _Known) -> StateWrite:
        return self.context.state.put(f"file:{name}", known.write())

    def _claim(self, names: list[str]) -> None:
        """Claim new files in the journal before they are made, so that none is ever unknown.

        Claims are shared by all sinks of this type: two that meet in one file would cut each
        other's rows.
        """
        claims = self.context.state.scoped("files")
        for name in names:
            path = self._template.folder / name
            owner = claims.get(str(path.absolute())) or self.context.name
            if owner != self.context.name:
                raise FatalSinkError(
                    f"{path} is written by the sink {owner!r}; give this one another `path:`"
                )
            if path.exists():
                raise FatalSinkError(
                    f"{path} exists and was not written by this sink; move it away, or give the "
                    "sink another `path:`"
                )
        if names:
            paths = [str((self._template.folder / name).absolute()) for name in names]
            self.context.state.commit(
                [self._state(name, _Known()) for name in names]
                + [claims.put(path, self.context.name) for path in paths]
            )
            self._files.update((name, _Known()) for name in names)

    def _append(self, name: str, rows: list[tuple[str, ...]]) -> _Known:
        """Write rows behind the known length, fsync, and return what is known from now on."""
        path = self._template.folder / name
        descriptor = self._descriptor(name)
        created = descriptor is None
        if descriptor is None:
            _make(path.parent)
            descriptor = os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            length = self._repair(name, descriptor)
            text = io.StringIO(newline="")
            writer = csv.writer(text)
            if length == 0:
                writer.writerow(HEADER)
            writer.writerows(rows)
            data = memoryview(text.getvalue().encode())
            end = length + len(data)
            while data:
                data = data[os.pwrite(descriptor, data, end - len(data)) :]
            os.fsync(descriptor)
            known = _Known(end, _digest(descriptor, end))
        finally:
            os.close(descriptor)
        if created:
            _sync_folder(path.parent)
        return known

    def _descriptor(self, name: str) -> int | None:
        """Open a file that should be there; one that was moved away is started anew."""
        path = self._template.folder / name
        try:
            return os.open(path, _FLAGS)
        except FileNotFoundError:
            if self._files[name].length:
                self.context.log.warning("csv.moved_away", extra={"path": str(path)})
                self._files[name] = _Known()
                self.context.state.commit([self._state(name, _Known())])
            return None

    def _repair(self, name: str, descriptor: int) -> int:
        """Cut a tail that no checkpoint knows, and return the length to write behind.

        Only a file that is ours up to that length is cut: the bytes before it must be those
        that this sink wrote.
        """
        path, known = self._template.folder / name, self._files[name]
        size = os.fstat(descriptor).st_size
        if size < known.length or _digest(descriptor, known.length) != known.digest:
            raise FatalSinkError(
                f"{path} was changed or cut short since this sink wrote {known.length} bytes to "
                "it; put the file back as it was, or move it away to start a new one"
            )
        if size > known.length:
            self.context.log.warning(
                "csv.repaired", extra={"path": str(path), "bytes": size - known.length}
            )
            os.ftruncate(descriptor, known.length)
        return known.length


@dataclass(frozen=True, slots=True)
class _Known:
    """What the journal knows of a file: its length in bytes, and a digest of how it ends."""

    length: int = 0
    digest: str = ""

    @classmethod
    def read(cls, value: str) -> _Known:
        length, _, digest = value.partition(" ")
        return cls(int(length), digest)

    def write(self) -> str:
        return f"{self.length} {self.digest}"


def _digest(descriptor: int, length: int) -> str:
    """Return a digest of a file's head and of its last bytes up to a length."""
    if not length:
        return ""
    head = os.pread(descriptor, min(length, _DIGESTED), 0)
    tail = os.pread(descriptor, min(length, _DIGESTED), max(0, length - _DIGESTED))
    return hashlib.sha256(head + tail).hexdigest()[:32]


def _make(folder: Path) -> None:
    """Make a folder and those above it.

    Raises:
        RetryableSinkError: something is in the way.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise RetryableSinkError(
            f"{folder} is wanted as a folder, and a file is in the way; move that away"
        ) from error


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
