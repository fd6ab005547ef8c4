"""The folder as readers see it: files appear whole under their names, and never change.

A file is written as `_meter/….part`, which no pattern of Parquet readers meets, and renamed
when the books know it. Whatever moment a crash chooses, a part that the books know is renamed on
the next opening, and any other is removed.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from meter.errors import FatalSinkError
from meter_parquet.books import KnownFile
from meter_parquet.rows import write_rows

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from meter.events import Event

__all__ = ["Folder", "Losses"]

OWN: Final = "_meter"
"""What is not for readers; they leave out names that begin with an underscore."""
_SUFFIX: Final = ".parquet"
_PART: Final = ".part"


class Losses:
    """What became of files that are not where they were put.

    Attributes:
        away: files whose whole month was moved away.
        back: files that were away and are there again.
    """

    def __init__(self) -> None:
        self.away: list[KnownFile] = []
        self.back: list[KnownFile] = []


class Folder:
    """One sink's folder."""

    def __init__(self, root: Path) -> None:
        """Name the places; touch nothing."""
        self.root = root
        self.own = root / OWN
        self.books = self.own / "books.db"

    def make(self) -> None:
        """Make the folder and the one for meter's own things."""
        _make(self.own)

    # -- writing a batch -------------------------------------------------------------------

    def write(self, path: str, events: Sequence[Event], facts: Mapping[str, str]) -> KnownFile:
        """Write a file beside where it will be, durably; readers do not see it yet.

        Raises:
            OSError: the disk refuses; `discard` removes what there is.
        """
        with self._part(path).open("wb") as file:
            write_rows(file, events, facts)
            file.flush()
            os.fsync(file.fileno())
            return KnownFile(path, len(events), file.tell())

    def discard(self, paths: Iterable[str]) -> None:
        """Remove parts that will not be needed."""
        for path in paths:
            self._part(path).unlink(missing_ok=True)

    def sync_parts(self) -> None:
        """Make the names of parts durable, so that the books never know one that is lost."""
        _sync(self.own)

    def show(self, paths: Collection[str]) -> None:
        """Rename parts to their places, durably; what is in its place already stays.

        Raises:
            FatalSinkError: a file of somebody else's is in the way.
            FileNotFoundError: it is in neither place.
        """
        months = set()
        for path in paths:
            part, place = self._part(path), self.root / path
            months.add(place.parent)
            _make(place.parent)
            if place.exists():
                if not part.exists():
                    continue
                raise FatalSinkError(f"{place} stands in the way of this sink's file; move it away")
            part.rename(place)
        for month in months:
            _sync(month)
        _sync(self.own)

    # -- opening ---------------------------------------------------------------------------

    def finish(self, known: Collection[KnownFile]) -> list[str]:
        """Put every part that counts in its place, remove the others; return what was placed."""
        parts = {self._part(file.path).name: file.path for file in known}
        left = [part for part in self.own.iterdir() if part.name.endswith(_PART)]
        placed = sorted(parts[part.name] for part in left if part.name in parts)
        for part in left:
            if part.name not in parts:
                part.unlink()
        if left:
            self.show(placed)
        return placed

    def refuse_strangers(self, known: Collection[KnownFile]) -> None:
        """Refuse Parquet files that the books do not know: readers would count them.

        Raises:
            FatalSinkError: it names the first of them.
        """
        ours = {file.path for file in known}
        for place, folders, names in os.walk(self.root):
            folders[:] = sorted(name for name in folders if name != OWN)
            for name in sorted(names):
                path = os.path.relpath(os.path.join(place, name), self.root)  # noqa: PTH118  because os.walk speaks text
                if name.endswith(_SUFFIX) and path.replace(os.sep, "/") not in ours:
                    raise FatalSinkError(
                        f"{self.root / path} is not in this sink's books, and readers would count "
                        "it; move it away, or give the sink another `path:`. If the books are "
                        "lost, move the whole folder away: a new one is filled from the journal"
                    )

    def losses(self, known: Collection[KnownFile]) -> Losses:
        """Compare what is there with the books.

        A month that is gone whole was archived by somebody; a file that is gone from among
        others, or has another length, is a fault.

        Raises:
            FatalSinkError: it names the file, and says what to do.
        """
        found = Losses()
        sizes = {file.path: self._size(file.path) for file in known}
        living = {file.month for file in known if not file.away and sizes[file.path] is not None}
        for file in known:
            size = sizes[file.path]
            if size is not None and size != file.bytes:
                raise FatalSinkError(
                    f"{self.root / file.path} has {size} bytes, and this sink wrote {file.bytes}; "
                    "put the file back as it was, or move the whole folder away: a new one is "
                    "filled from the journal"
                )
            if size is None and not file.away:
                if file.month in living:
                    raise FatalSinkError(
                        f"{self.root / file.path} is gone ({file.events} events); put it back, or "
                        "move the whole folder away: a new one is filled from the journal. To "
                        f"archive a month, move all of {file.month}"
                    )
                found.away.append(file)
            elif size is not None and file.away:
                found.back.append(file)
        return found

    def present(self, path: str) -> Path | None:
        """Return where a file that counts can be read; None when it is nowhere."""
        places = (self.root / path, self._part(path), self.root / path)  # it may be renamed now
        return next((place for place in places if place.exists()), None)

    def _part(self, path: str) -> Path:
        return self.own / (path.removesuffix(_SUFFIX).replace("/", ",") + _PART)

    def _size(self, path: str) -> int | None:
        try:
            return (self.root / path).stat().st_size
        except FileNotFoundError:
            return None


def _make(folder: Path) -> None:
    """Make a folder and those above it, durably."""
    if folder.is_dir():
        return
    _make(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync(folder.parent)


def _sync(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
