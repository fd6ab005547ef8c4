"""One file of a spool: append-only, owned by one process for as long as the kernel says so.

Every line is JSON: an item, or `{"done": [start, …]}` for items of this file that meter has. A line
that a crash cut short does not parse, and is skipped.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, Self

import msgspec

__all__ = ["Kept", "SpoolFile"]

SUFFIX: Final = ".spool"
_decode: Final = msgspec.json.Decoder().decode


class Kept(msgspec.Struct, gc=False):
    """An item that waits: in a file, or in memory where there is no file for it.

    Attributes:
        file: the file that holds it; None when memory does.
        start: where its line begins, bytes.
        size: its length without the newline, bytes.
        text: the item itself, only when memory holds it.
    """

    file: SpoolFile | None
    start: int
    size: int
    text: bytes = b""

    def read(self) -> bytes:
        """Return the item.

        Raises:
            OSError: the file cannot be read.
        """
        if self.file is None:
            return self.text
        return os.pread(self.file.descriptor, self.size, self.start)


class SpoolFile:
    """A locked file of items. Not for several threads."""

    def __init__(self, path: Path, descriptor: int) -> None:
        """Own a descriptor that holds the lock."""
        self.path = path
        self.descriptor = descriptor
        self.size = os.fstat(descriptor).st_size
        self.waiting = 0
        self._torn = False

    @classmethod
    def create(cls, folder: Path, prefix: str) -> Self:
        """Make a new file.

        It is locked before it has a name that others look for: nobody takes it for a dead one's.

        Raises:
            OSError: the folder or the file cannot be made or locked.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = f"{prefix}-{uuid.uuid4().hex}"
        unnamed = folder / f".{name}"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(unnamed, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path = unnamed.rename(folder / f"{name}{SUFFIX}")
            _sync_folder(folder)
            return cls(path, descriptor)
        except BaseException:
            os.close(descriptor)
            raise

    @classmethod
    def adopt(cls, path: Path) -> Self | None:
        """Take over a dead process's file; None when its owner lives, or another was quicker."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink:
                return cls(path, descriptor)
        except OSError:
            pass
        os.close(descriptor)
        return None

    def left(self) -> list[Kept]:
        """Return the items that are not known to have been delivered, in order.

        Raises:
            OSError: the file cannot be read.
        """
        found: dict[int, Kept] = {}
        start = 0
        data = _all_of(self.descriptor, self.size)
        self._torn = not data.endswith(b"\n")
        for line in data.split(b"\n"):
            said = _parsed(line)
            if "done" in said:
                for done in said["done"]:
                    found.pop(done, None)
            elif "message" in said:
                found[start] = Kept(self, start, len(line))
            start += len(line) + 1
        self.waiting = len(found)
        return list(found.values())

    def append(self, items: Sequence[bytes]) -> list[Kept]:
        """Write items and return once they are on the disk.

        Raises:
            OSError: none of them is kept.
        """
        kept = []
        start = self.size
        for item in items:
            kept.append(Kept(self, start, len(item)))
            start += len(item) + 1
        self._write(b"".join(item + b"\n" for item in items))
        os.fsync(self.descriptor)
        self.waiting += len(items)
        return kept

    def done(self, items: Iterable[Kept]) -> None:
        """Note that meter has these; when nothing waits any more, the file is empty again.

        Not synced: what is forgotten in a crash is sent again, and is a duplicate.
        """
        starts = [item.start for item in items]
        self.waiting -= len(starts)
        if self.waiting > 0:
            self._write(b'{"done":[%s]}\n' % b",".join(b"%d" % start for start in starts))
        else:
            os.ftruncate(self.descriptor, 0)
            self.size = 0

    def release(self) -> None:
        """Let go of the lock; the file goes when nothing waits in it."""
        if self.waiting <= 0:
            self.path.unlink(missing_ok=True)
        os.close(self.descriptor)

    def forsake(self) -> None:
        """Close a descriptor that came over a fork: the lock stays with the parent alone."""
        os.close(self.descriptor)

    def _write(self, data: bytes) -> None:
        if self._torn:  # the line that a crash cut short ends here
            data = b"\n" + data
        try:
            written = 0
            while written < len(data):
                written += os.pwrite(self.descriptor, data[written:], self.size + written)
        except OSError:
            self._torn = self.size > 0
            with contextlib.suppress(OSError):
                os.ftruncate(self.descriptor, self.size)  # not half a line
            raise
        self.size += len(data)
        self._torn = False


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        said = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _all_of(descriptor: int, size: int) -> bytes:
    parts = []
    start = 0
    while start < size and (part := os.pread(descriptor, size - start, start)):
        parts.append(part)
        start += len(part)
    return b"".join(parts)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
