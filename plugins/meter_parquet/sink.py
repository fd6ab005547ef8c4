"""The sink `parquet`: files by month that DuckDB and every other analytic tool can read."""

from __future__ import annotations

import json
import os
import sqlite3
from collections import defaultdict
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from meter.errors import FatalSinkError, RetryableSinkError
from meter.events import format_time
from meter.sinks import Guarantee, Later, Position, Report, Sink
from meter_parquet.books import Books, KnownFile
from meter_parquet.folder import Folder
from meter_parquet.options import MISSING, ParquetOptions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from meter.sinks import Batch, Elsewhere, SinkContext, StateWrite, Written

__all__ = ["ParquetOptions", "ParquetSink"]

ENOUGH: Final = 10_000
"""So many events at once are worth a file of their own, at once."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class ParquetSink(Sink):
    """Writes each batch as one file a month; a batch counts by one commit in the folder's books."""

    type = "parquet"
    guarantee = Guarantee.REPAIRS
    guarantee_note = (
        "a batch counts, whole, from one commit in the folder's books; files that a crash left "
        "half made are finished or removed before writing goes on"
    )
    mending = "move the whole folder away: `meter run` fills a new one from the journal"
    Options = ParquetOptions
    batch_size = 50_000
    options: ParquetOptions

    _books: Books | None = None
    _inode = 0
    _version = ""

    def __init__(self, options: ParquetOptions, context: SinkContext) -> None:
        """Name the folder; touch nothing yet."""
        super().__init__(options, context)
        self._folder = Folder(options.path)

    @classmethod
    def sandboxed(cls, options: ParquetOptions, doubles: Mapping[str, str]) -> ParquetOptions:
        """Return the options as they are: they name a folder only."""
        del doubles
        return options

    def open(self) -> Position:
        """Open the books, finish or remove what a crash left, and say where the folder stands.

        Raises:
            FatalSinkError: pyarrow is missing, or the folder is not as this sink left it.
            RetryableSinkError: the disk refuses, or the books are locked for too long.
        """
        from meter import __version__

        self.close()
        _import_pyarrow()
        self._version = __version__
        name, journal_id, folder = self.context.name, self.context.journal_id, self._folder
        with self._told():
            if not folder.books.exists():
                folder.refuse_strangers(())
            folder.make()
            self._books = books = Books(folder.books)
            self._inode = folder.books.stat().st_ino
            standing = books.begin(name, journal_id)
            position = Position(standing.journal_id, standing.checkpoint, standing.delivered)
            if position.journal_id != journal_id:
                return position  # which parks the sink; nothing in the folder is touched
            if standing.sink != name:
                raise FatalSinkError(
                    f"{folder.root} is written by the sink {standing.sink!r}; give this one "
                    "another `path:`"
                )
            with books.transaction():
                self._repair(books)
        return position

    def deliver(self, batch: Batch) -> Report:
        """Write a batch, or put it off to the next round time when it is small and new.

        Raises:
            RetryableSinkError: the disk refuses, or the folder was moved.
            FatalSinkError: the books cannot be read, or a file is in the way.
        """
        books = self._books
        if books is None:
            raise RetryableSinkError("not open")
        if self._is_early(batch):
            return self._put_off(batch)
        with self._told():
            self._check_place()
            written, fresh = self._commit(books, batch)
            self._folder.show([file.path for file in written])
        ids = [event.event_id for event in batch.events]
        return Report(
            delivered=[event_id for event_id in ids if event_id in fresh],
            duplicate=[event_id for event_id in ids if event_id not in fresh],
            state=[self._noted(written)] if written else [],
        )

    def status(self) -> Sequence[str]:
        """Say what was written last, and which months somebody moved away."""
        last, away = self.context.state.get("last"), self.context.state.get("away")
        lines = []
        if last is not None:
            said = json.loads(last)
            lines.append(f"last wrote {said['events']} events at {said['at']}: {said['files']}")
        if away:
            lines.append(f"moved away, so that readers of the folder lack them: {away}")
        return lines

    def check(self) -> Sequence[str]:
        """Look whether the folder can be written, and whose it is.

        Raises:
            SinkError: it cannot, or it belongs to another sink or journal.
        """
        _import_pyarrow()
        root = self._folder.root
        with self._told():
            there = next(path for path in (root, *root.absolute().parents) if path.exists())
            if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
                raise RetryableSinkError(f"{there} is no folder that this user can write in")
            if not self._folder.books.exists():
                self._folder.refuse_strangers(())
                return (f"{root} can be made" if there != root else f"{root} can be written",)
            books = Books(self._folder.books)
            try:
                standing = books.standing()
                files = 0 if standing is None else len(books.files())
            finally:
                books.close()
        if standing is None:
            return (f"{root} can be written",)
        if standing.sink != self.context.name:
            raise FatalSinkError(f"{root} is written by the sink {standing.sink!r}")
        return (f"{root} can be written; {standing.delivered} events in {files} files",)

    def written(
        self, since: datetime | None, until: datetime | None
    ) -> Iterator[Written | Elsewhere]:
        """Read the folder back, for `meter reconcile`.

        Raises:
            RetryableSinkError, FatalSinkError: it cannot be read, or pyarrow is missing.
        """
        from meter_parquet.reading import contents

        del since, until  # a row that was altered may stand in any file
        _import_pyarrow()
        return contents(self._folder)

    def close(self) -> None:
        """Close the books."""
        if self._books is not None:
            self._books.close()
            self._books = None

    # -- when ------------------------------------------------------------------------------

    def _is_early(self, batch: Batch) -> bool:
        """Tell whether events should wait for company; what waited once is not asked again."""
        return (
            batch.purpose == "new"
            and bool(self.options.every)
            and len(batch.events) < ENOUGH
            and not self.context.flushing()
        )

    def _put_off(self, batch: Batch) -> Report:
        """Let the journal keep the events until the next round time."""
        every: timedelta = self.options.every
        due = _EPOCH + ((self.context.clock.now() - _EPOCH) // every + 1) * every
        later = Later(f"waits for the next file, at {format_time(due)}", due)
        return Report(later={event.event_id: later for event in batch.events})

    # -- how -------------------------------------------------------------------------------

    def _commit(self, books: Books, batch: Batch) -> tuple[list[KnownFile], set[str]]:
        """Write a batch's files out of sight and commit them; return them and what was new."""
        months: defaultdict[str, list[int]] = defaultdict(list)
        paths: list[str] = []
        with books.transaction():
            standing = books.standing()
            mine = (self.context.name, self.context.journal_id)
            if standing is None or (standing.sink, standing.journal_id) != mine:
                raise RetryableSinkError(f"{self._folder.root} was replaced; opening it again")
            fresh = books.take([event.event_id for event in batch.events])
            for index, event in enumerate(batch.events):
                if event.event_id in fresh:
                    months[event.occurred_at.isoformat()[:7]].append(index)
            number = standing.batches + 1
            written = []
            try:
                for month, indexes in sorted(months.items()):
                    paths.append(f"month={month}/usage-{number:08}.parquet")
                    facts = self._facts(batch, number, indexes)
                    events = [batch.events[index] for index in indexes]
                    written.append(self._folder.write(paths[-1], events, facts))
                if written:
                    self._folder.sync_parts()
                checkpoint = batch.checkpoint if batch.purpose == "new" else 0
                books.record(written, checkpoint=checkpoint)
            except BaseException:
                self._folder.discard(paths)
                raise
            # Should the commit itself fail, only the next opening can tell whether it holds.
        return written, fresh

    def _facts(self, batch: Batch, number: int, indexes: Sequence[int]) -> dict[str, str]:
        """Return what a file says of itself, for who finds it without its folder."""
        offsets = [batch.offsets[index] for index in indexes]
        return {
            "version": self._version,
            "journal_id": self.context.journal_id,
            "sink": self.context.name,
            "batch": str(number),
            "first_offset": str(min(offsets)),
            "last_offset": str(max(offsets)),
            "checkpoint": str(batch.checkpoint),
        }

    def _repair(self, books: Books) -> None:
        """Finish what a crash left, then compare the folder with the books."""
        known, log = books.files(), self.context.log
        placed = self._folder.finish(known)
        if placed:
            log.warning("parquet.finished", extra={"files": placed})
        self._folder.refuse_strangers(known)
        losses = self._folder.losses(known)
        if not losses.away and not losses.back:
            return
        gone, back = [f.path for f in losses.away], [f.path for f in losses.back]
        books.mark_away(gone, away=True)
        books.mark_away(back, away=False)
        log.warning("parquet.moved_away", extra={"away": gone, "back": back})
        months: defaultdict[str, int] = defaultdict(int)
        for file in books.files():
            if file.away:
                months[file.month] += file.events
        said = ", ".join(f"{month} ({events} events)" for month, events in sorted(months.items()))
        self.context.state.commit([self.context.state.put("away", said)])

    def _noted(self, written: Sequence[KnownFile]) -> StateWrite:
        said = {
            "at": format_time(self.context.clock.now()),
            "events": sum(file.events for file in written),
            "files": ", ".join(file.path for file in written),
        }
        return self.context.state.put("last", json.dumps(said))

    def _check_place(self) -> None:
        """Notice a folder that was moved or replaced: rows written to it would vanish."""
        if self._folder.books.stat().st_ino != self._inode:
            raise RetryableSinkError(f"{self._folder.root} was replaced; opening the new one")

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Class what the disk and the books say by what to do next."""
        books: Path = self._folder.books
        try:
            yield
        except sqlite3.OperationalError as error:
            raise RetryableSinkError(f"{books}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise FatalSinkError(
                f"{books} is damaged ({error}); put a copy of the whole folder back, or move the "
                "folder away: a new one is filled from the journal"
            ) from error
        except OSError as error:
            place = error.filename or self._folder.root
            raise RetryableSinkError(f"{place}: {error.strerror or error}") from error


def _import_pyarrow() -> None:
    """Import pyarrow before the first batch needs it.

    Raises:
        FatalSinkError: it is not installed, or broken.
    """
    try:
        import pyarrow.parquet  # type: ignore[import-untyped]  # noqa: F401  because it has no types, and only its presence counts
    except ImportError as error:
        raise FatalSinkError(f"{MISSING} ({error})") from error
