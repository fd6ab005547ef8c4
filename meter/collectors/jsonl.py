"""The collector `jsonl`: events from a file or standard input, one a line."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import hashlib
import threading
import zlib
from collections.abc import Callable, Mapping, Sequence
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec.structs import replace
from pydantic import AfterValidator, Field, ValidationInfo

from meter.collectors.interface import Collector
from meter.errors import CollectorError, InvalidEvent, JournalUnavailable
from meter.events import AnyEvent, decode_event, exact_number
from meter.journal import Quarantined, Recorded
from meter.journal.carried import BEGINNING, FORMAT, Begins, Ends, Line, decode_line
from meter.sinks import Options, placed

if TYPE_CHECKING:
    from gzip import GzipFile

    from meter.collectors.interface import CollectorContext

__all__ = ["JsonlCollector", "JsonlOptions"]

CHUNK_BYTES: Final = 2 * 1024 * 1024
"""How much is read, and recorded in one commit, at a time."""
LONGEST_LINE: Final = 1_048_576
"""Bytes; a longer line is set aside like any other bad one, without being read whole."""
_decode: Final = msgspec.json.Decoder(float_hook=exact_number).decode
_encode: Final = msgspec.json.Encoder(decimal_format="number").encode
RETRY_SECONDS: Final = 1.0
STDIN: Final = Path("-")


def _stdin_or_placed(path: Path, info: ValidationInfo) -> Path:
    return path if path == STDIN else placed(path, info)


class JsonlOptions(Options):
    """Options of `type: jsonl`."""

    path: Annotated[
        Path,
        AfterValidator(_stdin_or_placed),
        Field(
            description="The file, one event a line in its own JSON form; - is standard input. An "
            "export of a journal is one; .gz is unpacked."
        ),
    ]


class JsonlCollector(Collector):
    """Reads a file to its end, once a run; what it read before comes back as duplicates."""

    type = "jsonl"
    Options = JsonlOptions
    options: JsonlOptions

    def __init__(self, options: JsonlOptions, context: CollectorContext) -> None:
        """Keep what is needed; the file is opened by `run`."""
        super().__init__(options, context)
        self.counts = {"recorded": 0, "duplicate": 0, "conflict": 0, "quarantined": 0}
        self.export = _Export()

    @classmethod
    def sandboxed(cls, options: JsonlOptions, doubles: Mapping[str, str]) -> JsonlOptions:
        """Return the options as they are: they name a file only."""
        del doubles
        return options

    def check(self) -> Sequence[str]:
        """Look whether the file can be read.

        Raises:
            CollectorError: it cannot.
        """
        path = self.options.path
        if path == STDIN:
            return ("standard input",)
        try:
            with path.open("rb"):
                size = path.stat().st_size
        except OSError as error:
            raise CollectorError(f"path {path} cannot be read: {error.strerror}") from None
        return (f"{path} can be read: {size:,} bytes",)

    async def run(self, *, once: bool) -> None:
        """Read to the end; each bad line is reported with its number and kept aside."""
        del once  # a file has one end, whichever way meter runs
        self.export = _Export()
        path = self.options.path
        try:
            source = _open(path)
        except OSError as error:
            raise CollectorError(
                f"cannot read {path}: {error.strerror}; give `path:` a file that exists, or -"
            ) from None
        with source:
            number = 0
            splitter = LineSplitter()
            while chunk := await _in_thread(source.read1, CHUNK_BYTES):
                lines = splitter.feed(chunk)
                await self._take(lines, number + 1)
                number += len(lines)
            await self._take(rest := splitter.rest(), number + 1)
        self.context.log.info("jsonl.read", extra={"lines": number + len(rest), **self.counts})
        if (fault := self.export.fault()) is not None:
            self.context.log.error(
                "jsonl.incomplete_export", extra={"path": str(path), "error": fault}
            )
        if self.export.seen:
            trouble = None if fault is None else f"{path}: {fault}"
            await self.context.journal.set_trouble(self.context.name, trouble)

    async def _take(self, lines: list[bytes], first: int) -> None:
        """Take lines until the journal has them: standard input cannot be read twice."""
        while True:
            try:
                return await self._record(lines, first)
            except JournalUnavailable as error:
                self.context.log.warning(
                    "jsonl.waiting", extra={"error": str(error), "line": first}
                )
                await asyncio.sleep(RETRY_SECONDS)

    async def _record(self, lines: list[bytes], first: int) -> None:
        events: list[AnyEvent] = []
        others: list[Line] = []
        bad: list[Quarantined] = []
        for number, line in enumerate(lines, first):
            if not line.strip():
                continue
            try:
                if len(line) > LONGEST_LINE:
                    raise InvalidEvent(f"over {LONGEST_LINE} bytes")
                if line.startswith(BEGINNING):
                    others.append(_other(line))
                else:
                    events.append(self._event(line))
            except InvalidEvent as error:
                bad.append(self._aside(line, number, str(error)))
        if bad:
            self.counts["quarantined"] += await self.context.intake.quarantine(bad)
        if events:
            answers = await self.context.intake.record(events)
            for answer in Recorded:
                self.counts[answer.value] += answers.count(answer)
        if others:
            await self.context.journal.carried.take(
                [line for line in others if not isinstance(line, Begins | Ends)]
            )
        self.export.count(others, len(events))

    def _event(self, line: bytes) -> AnyEvent:
        """Read a line; who collected it stands if the file knows that collector, else it is us.

        So an export of this journal comes back as it was, and events made elsewhere flow
        where the pipelines say `from:` this collector.
        """
        try:
            event = decode_event(line)
        except InvalidEvent as error:
            event = self._filled_in(line, error)
        if event.collector in self.context.collectors:
            return event
        return replace(event, collector=self.context.name)

    def _filled_in(self, line: bytes, error: InvalidEvent) -> AnyEvent:
        """Read a line that leaves out what only meter knows; raise the first error otherwise."""
        try:
            given = _decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise error from None
        if not isinstance(given, dict) or {"collector", "recorded_at"} <= given.keys():
            raise error
        ours = {"collector": self.context.name, "recorded_at": self.context.clock.now()}
        return decode_event(_encode({**ours, **given}))

    def _aside(self, line: bytes, number: int, reason: str) -> Quarantined:
        """Report a bad line and keep it; the same line again is the same thing."""
        self.context.log.warning(
            "jsonl.bad_line",
            extra={"path": str(self.options.path), "line": number, "reason": reason},
        )
        payload = {"line": number, "text": line[:LONGEST_LINE].decode("utf-8", "backslashreplace")}
        return Quarantined(
            collector=self.context.name,
            key=f"line:{hashlib.sha256(line).hexdigest()}",
            reason=f"line {number}: {reason}",
            payload=msgspec.json.encode(payload).decode(),
        )


class _Export:
    """Tells whether an export of a journal has come to its end; any other file has no such lines.

    Attributes:
        seen: the file is one.
    """

    def __init__(self) -> None:
        self.seen = False
        self._events = 0
        self._others = 0
        self._end: Ends | None = None

    def count(self, others: list[Line], events: int) -> None:
        """Count what was taken."""
        self._events += events
        for line in others:
            self.seen |= isinstance(line, Begins)
            if isinstance(line, Ends):
                self._end = line
            else:
                self._others += not isinstance(line, Begins)

    def fault(self) -> str | None:
        """Return what is wrong with it; None when nothing is."""
        if not self.seen:
            return None
        if self._end is None:
            return "this export is cut short; what it has was taken; export again"
        if (self._events, self._others) != (self._end.events, self._end.others):
            return (
                f"this export had {self._end.events} events and {self._end.others} other lines; "
                f"it has {self._events} and {self._others} that can be read; export again"
            )
        return None


def _other(line: bytes) -> Line:
    try:
        read = decode_line(line)
    except ValueError as error:
        raise InvalidEvent(f"not a line of an export that this meter knows: {error}") from None
    if isinstance(read, Begins) and read.format > FORMAT:
        raise InvalidEvent(f"an export by a newer meter (format {read.format}); update meter")
    return read


def _open(path: Path) -> BufferedReader | GzipFile:
    if path == STDIN:
        return open(0, "rb", closefd=False)
    if path.suffix == ".gz":
        import gzip

        return gzip.open(path, "rb")
    return path.open("rb")


class LineSplitter:
    """Cuts chunks into lines; of an overlong line only the beginning is kept in memory."""

    def __init__(self) -> None:
        """Start at the beginning of a file."""
        self._tail = b""
        self._started = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the lines that this chunk completes."""
        if not self._started:
            chunk = chunk.removeprefix(codecs.BOM_UTF8)
            self._started = True
        first, *others = chunk.split(b"\n")
        self._tail = (self._tail + first)[: LONGEST_LINE + 1]
        if not others:
            return []
        *middle, last = others
        lines = [self._tail, *middle]
        self._tail = last[: LONGEST_LINE + 1]
        return lines

    def rest(self) -> list[bytes]:
        """Return the last line, if the file does not end with a newline."""
        return [self._tail] if self._tail else []


async def _in_thread(read: Callable[[int], bytes], size: int) -> bytes:
    """Call something that may block for ever, in a thread that cannot hold up the exit."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[bytes] = loop.create_future()

    def settle(result: bytes, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def work() -> None:
        result, problem = b"", None
        try:
            result = read(size)
        except (OSError, ValueError, EOFError, zlib.error) as error:
            problem = CollectorError(f"reading stopped: {error}")
        with contextlib.suppress(RuntimeError):  # the loop is gone: nobody waits any more
            loop.call_soon_threadsafe(settle, result, problem)

    threading.Thread(target=work, name="meter-jsonl", daemon=True).start()
    return await future
